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
        "These encoders edit nothing: each turns a crop into a code, which other networks work on. The figures say how "
        "far the protection moves the code. The controls change the crop of the original instead: noise of the same "
        f"rms, and JPEG of quality {QUALITY}. Where the protection moves a code no further than they do, it does no "
        "more than any change would."
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
    scale = (
        "cosine of the two codes: 1 if nothing moved, broken at or below"
        if kind.unit
        else "distance of the two codes over the length of the first (relative shift), broken at or above"
    )
    return f"{kind.reads}, {kind.role}; {kind.limit}. The figure is the {scale} {kind.threshold:g}."


def _table(result: CheckResult) -> Markup:
    heads = [tag("th", text, scope="col") for text in result.ENCODER_COLUMNS]
    rows = []
    for row in result.encoder_rows():
        first, *cells = [_cell(head, value) for head, value in zip(result.ENCODER_COLUMNS, row, strict=True)]
        rows.append(tag("tr", tag("th", first, scope="row"), [tag("td", cell) for cell in cells]))
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows))
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="Encoders")


def _cell(head: str, value: str | int | float | None) -> str:
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.1%}" if head == "broken" else f"{value:.1f} dB" if "PSNR" in head else f"{value:.3f}"


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
