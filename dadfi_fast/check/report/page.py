"""The page: what the verdict says, drawn and in words, and the photos, the weakest first."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Final

import numpy as np

from dadfi_fast.check.conditions import WRITTEN
from dadfi_fast.check.gallery import GAIN, Gallery
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.report import chart
from dadfi_fast.check.report.cards import Counts, card, plain
from dadfi_fast.check.report.encoders import section
from dadfi_fast.check.report.facts import Setting, describe, environment
from dadfi_fast.check.report.markup import Content, Markup, join, name, tag
from dadfi_fast.check.result import CheckResult
from dadfi_fast.check.visibility import NOTICED, Visibility
from dadfi_fast.deepfakes.edits import FAMILIES, OWN
from dadfi_fast.metrics.defence import SUCCESS, success

#: Photos that get a card; of more, the strongest are only counted.
LISTED: Final = 500
#: What protected the files, where they came without a manifest.
UNKNOWN: Final = "not known: there is no manifest beside the files"
#: What photos are shown with where deepfake models were run.
FAKES: Final = (
    "; then the fakes side by side: that of the original on the left, that of the protected photo on the right. "
    "Click a pair of fakes to overlay them."
)
#: Lines of a list of files.
LINES: Final = 200


def page(result: CheckResult, gallery: Gallery, traces: Visibility, setting: Setting) -> str:
    """The whole page, as HTML."""
    style, script = _file("style.css"), _file("script.js")
    edits = {model.name: model.edit_names for model in setting.models}
    worst = result.worst()
    return Template(_file("template.html")).substitute(
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        gain=GAIN,
        question="Are the fakes broken?" if result.models else "What do other networks make of the photos?",
        fakes=FAKES if result.models else ".",
        result=_outcome(result, edits),
        visibility=_visibility(result),
        figures=_figures(result, edits, _traces(traces, setting)),
        encoders=section(result),
        untested=_untested(result, setting),
        options=join(tag("option", model, value=i) for i, model in enumerate(edits)),
        photos=join(
            card(sample, i, gallery, edits, result.appearance.photos.get(sample.pair), _codes(result, sample.pair))
            for i, sample in enumerate(worst[:LISTED])
        ),
        unlisted=_unlisted(len(worst)),
        made=_made(result, setting),
    )


def _file(filename: str) -> str:
    return files(__package__).joinpath(filename).read_text(encoding="utf-8")


def _codes(result: CheckResult, pair: Pair) -> list[str]:
    """What encoders made of a photo, a line for each; of several faces, of the one whose code moved least."""
    return [f"{encoder}: {result.codes(encoder, pair=pair).words()}" for encoder in result.encoders]


def _hash(text: str) -> str:
    """What a Content-Security-Policy calls an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _outcome(result: CheckResult, edits: Mapping[str, Sequence[str]]) -> Markup:
    n = len(result.samples)
    safe = sum(sample.looks[WRITTEN.name].protected for sample in result.samples)
    drawn = "" if result.n_pairs == n + len(result.failures) else f", drawn from {result.n_pairs}"
    lines = [_beaten(model, result.beaten(model), n) for model in result.models]
    if not result.models:
        return tag(
            "p", f"{n} photos were checked{drawn}, with encoders only. No deepfake model was run.", class_="lead"
        )
    tried = ", ".join(f"{model} ({len(names)} edits)" for model, names in edits.items())
    words = f"{n} photos were checked{drawn}. Every face in them, as the adversary A1 crops it, went through: {tried}."
    every = (
        f"In {safe} of {n} photos every fake by all of these models is broken: "
        "the figure that counts if the model that will be used is unknown."
    )
    more = tag("p", every) if len(result.models) > 1 else None
    return join([tag("ul", lines, class_="lead"), tag("p", words), more])


def _beaten(model: str, count: int, n: int) -> Markup:
    colour = {n: "good", 0: "bad"}.get(count)
    return tag("li", f"{model}: every fake broken in {count} of {n} photos", class_=colour)


def _figures(result: CheckResult, edits: Mapping[str, Sequence[str]], traces: Markup) -> Markup:
    """The section on deepfake models; without any, only what the protection changed."""
    if not result.models:
        heading = tag("h2", "What the protection changed", id="figures")
        return tag("section", heading, tag("div", traces, class_="charts"), aria_labelledby="figures")
    text = Template(_file("models.html")).substitute(
        threshold=SUCCESS,
        models=_models(result, edits),
        distances=_distances(result),
        conditions=_conditions(result),
        edits=_edits(result, edits),
        traces=traces,
    )
    return Markup(text)


def _models(result: CheckResult, edits: Mapping[str, Sequence[str]]) -> Markup:
    heads = (
        "model",
        "fakes broken",
        "photos with every fake broken",
        "mean d_mask",
        "mean d_pix",
        "edits that changed nothing",
    )
    return _table("Success by model", heads, (_model(result, model, len(edits[model])) for model in result.models))


def _model(result: CheckResult, model: str, n_edits: int) -> list[Content]:
    scores, mask = result.scores(model), result.distances(model).mask
    counts = Counts(mask.size, int(success(mask).sum()), scores.n_empty)
    return [
        [model, tag("small", f" {n_edits} edits")],
        _share(counts.broken, counts.total),
        f"{result.beaten(model)} of {len(result.samples)}",
        _number(scores.d_mask),
        _number(scores.d_pix),
        str(scores.n_empty),
    ]


def _conditions(result: CheckResult) -> Markup:
    heads = ("condition", "adversary", *result.models, "photos with every fake broken")
    rows = ([_tried(name), result.adversaries[name], *_row(result, name)] for name in result.conditions)
    hints = [
        tag("p", hint)
        for hint, missing in (
            ("Compression was not tested. Add it with check --also jpeg:90,75.", len(result.conditions) == 1),
            (
                "Other crops were not tested. Add them with check --also margin:0.9,1.1.",
                "A2" not in result.adversaries.values(),
            ),
        )
        if missing
    ]
    return join([_table("Success under other conditions", heads, rows), hints])


def _row(result: CheckResult, condition: str) -> Iterator[Content]:
    for model in result.models:
        mask = result.distances(model, condition).mask
        yield _share(int(success(mask).sum()), mask.size)
    safe = sum(sample.looks[condition].protected for sample in result.samples)
    yield _share(safe, len(result.samples))


def _tried(condition: str) -> str:
    kind, _, value = condition.partition(":")
    words = {
        "written": "the file as written",
        "jpeg": f"JPEG of quality {value}",
        "resize": f"resized by {value}",
        "blur": f"blurred, window of {value} pixels",
        "margin": f"crops {value} times as wide",
        "noise": f"control: noise of {value} instead of protection",
    }
    return words.get(kind, condition)


def _distances(result: CheckResult) -> Markup:
    figures = []
    for i, model in enumerate(result.models):
        mask = result.distances(model).mask
        values = mask[~np.isnan(mask)]
        above = int(success(values).sum())
        about = f"Distances of the {values.size} fakes by {model}: {above} are above the threshold of {SUCCESS}."
        drawn = chart.histogram(values.tolist(), name=f"distances-{i}", about=about)
        figures.append(tag("figure", drawn, tag("figcaption", tag("b", model), f": {about}")))
    return join(figures)


def _edits(result: CheckResult, edits: Mapping[str, Sequence[str]]) -> Markup:
    def rows() -> Iterator[list[Content]]:
        for model in result.models:
            mask = result.distances(model).mask
            for i, edit in enumerate(edits[model]):
                column = mask[:, i]
                yield [plain(edit), model, _share(int(success(column).sum()), column.size), str(np.isnan(column).sum())]

    return _table("Success by edit", ("edit", "model", "fakes broken", "edits that changed nothing"), rows())


def _visibility(result: CheckResult) -> Markup:
    """How visible the change is, in words: the JPEG equivalent, or why there is none, and PSNR."""
    seen, psnrs = result.appearance, result.psnrs()
    said = seen.sentence() or f"visibility was not measured: {seen.reason}"
    meaning = (
        "This is the quality (4:2:0) at which a JPEG of the original, cut to the face at the photo's own size, scores "
        "the same as the protected photo; of a photo with several faces, the worst one counts. The generators that "
        "ship were trained with these two metrics, so others may find the change more visible: ColorVideoVDP does on "
        "some portraits (docs/measurements.md)."
    )
    mean = f"PSNR of whole photos is {np.mean(psnrs):.1f} dB, the mean of {len(psnrs)}." if psnrs else None
    psnr = mean or "No photo was changed."
    return tag("p", tag("b", f"{said[0].upper()}{said[1:]}."), f" {meaning}" if seen.photos else None, f" {psnr}")


def _traces(traces: Visibility, setting: Setting) -> Markup:
    energy, mean = traces.spectrum, float(traces.visible.mean())
    light, colour = energy.sum(axis=1)
    about = f"Energy of the change by fineness: {light:.2g} levels² in brightness, {colour:.2g} in colour."
    sizes = [model.image_size for model in setting.run]
    drawn = chart.spectrum(energy, sizes=sizes, name="spectrum", about=about)
    limits = "A dashed line is the finest that a model of this size can see."
    where = (
        f"Where the change can be seen, mean of {traces.n} faces: colour difference {mean:.1f} (CIE76), and above "
        f"{NOTICED} on {traces.share_visible:.0%} of the pixels, which people begin to see on plain patches."
    )
    heat = chart.heat(traces.visible, alt=where)
    scale = f" Dark is 0, brightest {chart.BRIGHTEST:g} and more."
    return join(
        [
            tag("figure", drawn, tag("figcaption", f"{about} {limits}")),
            tag("figure", heat, tag("figcaption", where, scale), class_="heat"),
        ]
    )


def _untested(result: CheckResult, setting: Setting) -> Markup:
    absent = [sample for sample in result.samples if not sample.looks[WRITTEN.name].found]
    undrawn = result.n_pairs - len(result.samples) - len(result.failures)
    seen = {card.family for card in (*setting.others, *(model.card for model in setting.run))}
    lists: list[Content] = [
        _list(
            "Families of models that are known and of which none is installed",
            [f for f in FAMILIES if f not in seen and f != OWN],
        ),
        _list("Models that are installed and were not run", [describe(card) for card in setting.others]),
        _list("Files that could not be compared", [[name(pair.name), f": {why}"] for pair, why in result.failures]),
        _list("Checked photos in which no face was found", [name(sample.pair.name) for sample in absent]),
        _list(
            "Files that were not protected, and so not checked",
            [[name(left.name), f": {left.status}, {left.why}"] for left in setting.scope.left],
        ),
    ]
    rest = f"{undrawn} protected files were not drawn for this check." if undrawn else None
    return join([tag("p", rest) if rest else None, lists])


def _unlisted(count: int) -> Markup:
    if count <= LISTED:
        return Markup()
    return tag("p", f"{count - LISTED} photos, stronger than these, are in the figures and not listed.")


def _made(result: CheckResult, setting: Setting) -> Markup:
    lines: list[tuple[str, Content]] = [
        *((f"model {i + 1}", describe(model.card)) for i, model in enumerate(setting.run)),
        ("attributes by", describe(setting.classifier.card)),
        ("faces found by", setting.detector),
        *(("protected with", maker) for maker in (setting.scope.makers or (UNKNOWN,))[:LINES]),
        *((("strength", _strengths(setting.scope.strengths)),) if setting.scope.strengths else ()),
        ("command", tag("code", setting.command)),
        ("seed of the sample", str(result.seed)),
        *environment(),
    ]
    return tag("dl", [[tag("dt", label), tag("dd", value)] for label, value in lines])


def _strengths(counts: Sequence[tuple[float, int]]) -> str:
    named = [f"{strength:g} in {n} file{'s' * (n != 1)}" for strength, n in counts]
    return ", ".join(named[:LINES]) + (" and others" if len(named) > LINES else "")


def _list(title: str, items: Sequence[Content]) -> Markup | None:
    if not items:
        return None
    more = [tag("li", f"and {len(items) - LINES} more")] if len(items) > LINES else []
    lines = [*(tag("li", item) for item in items[:LINES]), *more]
    return tag("details", tag("summary", f"{title} ({len(items)})"), tag("ul", lines), open=len(items) <= 5)


def _table(label: str, heads: Sequence[str], rows: Iterator[list[Content]]) -> Markup:
    head = tag("thead", tag("tr", [tag("th", text, scope="col") for text in heads]))
    body = [tag("tr", tag("th", row[0], scope="row"), [tag("td", cell) for cell in row[1:]]) for row in rows]
    table = tag("table", head, tag("tbody", body))
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _share(part: int, whole: int) -> Markup:
    return join([chart.bar(part / whole), f"{part} of {whole} ", tag("small", f"({part / whole:.1%})")])


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
