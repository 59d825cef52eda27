"""The section of the page on encoders: figures in words and a table, and what their decoders make of some faces."""

from __future__ import annotations

from dadfi_fast.check.codes import QUALITY, Reconstruction
from dadfi_fast.check.gallery import webp
from dadfi_fast.check.report.markup import Content, Markup, join, name, picture, tag
from dadfi_fast.check.result import CheckResult

#: Pixels a side of a reconstruction on the page.
SIDE = 192


def section(result: CheckResult) -> Markup:
    """The section "Other networks"; nothing where no encoder was run."""
    if not result.encoders:
        return Markup()
    words = (
        "Other networks do not see a photo but its code: what an encoder makes of it. Measured is how far the protection "
        "moves the code of the same crop. The controls move the code of the original: noise of the same strength (rms), "
        f"and JPEG of quality {QUALITY} of the crop. A shift that is no larger than theirs is that of any change."
    )
    parts: list[Content] = [
        tag("h2", "Other networks", id="others"),
        tag("p", words),
        tag("ul", [tag("li", tag("b", encoder), ": ", _meaning(result, encoder)) for encoder in result.encoders]),
        _table(result),
        [_pictures(judge.model.name, judge.pictures) for judge in result.judges],
    ]
    return tag("section", parts, aria_labelledby="others")


def _meaning(result: CheckResult, encoder: str) -> str:
    kind = result.codes(encoder).kind
    if kind.unit:
        scale = f"cosine of the two codes: 1 is the same person, and from {kind.threshold:g} down the code is broken"
    else:
        scale = f"relative shift: the distance of the two codes over the length of the first, broken from {kind.threshold:g} on"
    return f"{kind.reads}, {kind.role}; {kind.limit}. The figure is the {scale}."


def _table(result: CheckResult) -> Markup:
    heads = [tag("th", text, scope="col") for text in result.ENCODER_COLUMNS]
    rows = []
    for row in result.encoder_rows():
        first, *cells = [_cell(head, value) for head, value in zip(result.ENCODER_COLUMNS, row, strict=True)]
        rows.append(tag("tr", tag("th", first, scope="row"), [tag("td", cell) for cell in cells]))
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows))
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="Encoders")


def _cell(head: str, value: str | int | float) -> str:
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return "-"
    return f"{value:.1%}" if head == "broken" else f"{value:.1f} dB" if "PSNR" in head else f"{value:.2f}"


def _pictures(encoder: str, kept: list[Reconstruction]) -> Markup | None:
    if not kept:
        return None
    figures = [tag("figure", _pair(each), tag("figcaption", _caption(each)), class_="codes") for each in kept]
    title = f"Reconstructions by the decoder of {encoder}, of the first {len(kept)} faces"
    words = "On the left from the code of the original, on the right from the code of the protected photo."
    return join([tag("h3", title), tag("p", words), tag("div", figures, class_="grid")])


def _pair(each: Reconstruction) -> list[Markup]:
    sides = ((each.original, "original"), (each.protected, "protected photo"))
    return [picture(webp(pixels, 80), f"reconstruction of the {what}", side=SIDE) for pixels, what in sides]


def _caption(each: Reconstruction) -> list[Content]:
    return [name(each.pair.name), f", face {each.face}"]
