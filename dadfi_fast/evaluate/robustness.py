"""Whether protection outlives what happens to pictures on their way: compression, shrinking, blur.

`measure` is shared with `whole_photo`: the same conditions on photos as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dadfi_fast.check.conditions import WRITTEN, Condition, parse
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.result import Verdict
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.heat_map import Matrix, matrices
from dadfi_fast.evaluate.methods import NOISE, NULL, Method, generators
from dadfi_fast.evaluate.protocol import PNG, Form, Laboratory, laboratory, noise_before
from dadfi_fast.evaluate.result_cache import Piece

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is said of files besides, by what was found, the files, and what is done to them first.
See: TypeAlias = Callable[[Verdict, Sequence[Pair], Condition], dict[str, Any]]
#: What happens to the written file; `WRITTEN` comes first.
CONDITIONS: Final = tuple(map(parse, ("jpeg:95", "jpeg:90", "jpeg:75", "jpeg:50", "resize:0.5", "blur:3")))
COLUMNS: Final = {
    "method": "method",
    "model": "model",
    "condition": "condition",
    "sr_mask": "SR_mask",
    "d_mask": "d_mask",
    "d_pix": "d_pix",
    "n_empty": "empty masks",
    "sr_all": "SR_all",
}
#: What the figure calls SR_all.
ALL: Final = "SR_all"
TEXT: Final = """\
- written: the file as it is (PNG); jpeg: compressed once more at this quality, 4:2:0; resize: by this factor, the
  original likewise; blur: Gaussian, this window in pixels. Then the adversary's own detection and crop.
- SR_mask: share of fakes whose d_mask is above 0.05; SR_all: share of pictures in which every model fails at every edit
  (the same for all models of a condition).
- null: the unchanged picture under the same conditions: what they alone do to the fakes; noise: uniform noise of the
  same strength, all over the picture.
"""


def run(setup: Setup) -> Result:
    """Measure the generators of ``setup`` against its models, under `CONDITIONS`.

    Raises:
        UsageError: a model or a generator is unknown.
        DataError: the pictures cannot be read.
    """
    methods = generators(setup)
    with laboratory(setup) as lab:
        rows = lab.measured("robustness", pieces(lab, methods, PNG))
    return Result("robustness", rows, COLUMNS, TEXT, partial(draw, rows=rows), answer(rows))


def pieces(lab: Laboratory, methods: Sequence[Method], form: Form, *, see: See | None = None) -> list[Piece]:
    """What is measured: every method and the controls, written in this ``form`` and with what ``see`` says of them."""
    every = [condition.name for condition in (WRITTEN, *CONDITIONS)]
    named = partial(lab.piece, form=asdict(form), conditions=every)
    own = [named(each.name, partial(_protected, lab, each, form, see), each) for each in methods]
    return [*own, named("null and noise", partial(controls, lab, form, see=see))]


def _protected(lab: Laboratory, method: Method, form: Form, see: See | None) -> Iterator[Row]:
    with lab.written(method, form) as pairs:
        verdict = lab.check(pairs, conditions=CONDITIONS)
        seen = see(verdict, pairs, WRITTEN) if see else {}
    for row in figures(method.name, verdict):
        yield row | seen | lab.facts(method, [row["model"]])


def answer(rows: Sequence[Row]) -> str:
    """What is left of each generator's protection after the conditions, Markdown."""
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows if row["generator"]):
        own = [row for row in rows if row["method"] == method]
        for model in dict.fromkeys(row["model"] for row in own):
            shares = [f"{row['condition']} {row['sr_mask']:.3f}" for row in own if row["model"] == model]
            lines.append(f"- {method}, {model} (SR_mask): {', '.join(shares)}")
    return "\n".join(lines)


def figures(method: str, verdict: Verdict, names: Sequence[tuple[str, str]] = ()) -> Iterator[dict[str, Any]]:
    """A row for every model and condition.

    Args:
        names: conditions, as the verdict and as the rows call them; all those of the verdict where empty.
    """
    for model in verdict.models:
        for condition, shown in names or zip(verdict.conditions, verdict.conditions, strict=True):
            scores = verdict.scores(model, condition)
            yield {
                "method": method,
                "model": model,
                "condition": shown,
                "sr_mask": scores.sr_mask,
                "d_mask": scores.d_mask,
                "d_pix": scores.d_pix,
                "n_empty": scores.n_empty,
                "sr_all": verdict.sr_all(condition),
            }


def controls(lab: Laboratory, form: Form, *, see: See | None) -> list[Row]:
    """The rows of the unchanged pictures, written in this ``form`` and with what ``see`` says of them, and of noise."""
    every = (WRITTEN, *CONDITIONS)
    noisy = [noise_before(lab.setup.strength, condition) for condition in every]
    with lab.written(lab.unchanged(), form) as pairs:
        verdict = lab.check(pairs, conditions=[*CONDITIONS, *noisy])
        first = {NULL: WRITTEN, NOISE: noisy[0]}
        seen = {name: see(verdict, pairs, condition) if see else {} for name, condition in first.items()}
    names = {NULL: [each.name for each in every], NOISE: [each.name for each in noisy]}
    return [
        row | seen[method] | lab.facts(models=[row["model"]])
        for method, own in names.items()
        for row in figures(method, verdict, list(zip(own, names[NULL], strict=True)))
    ]


def draw(figure: Figure, *, rows: Sequence[Row]) -> None:
    """SR_mask by condition and model, with SR_all, a matrix for each generator and one for noise; then their d_mask."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    by_place = {(row["method"], row["condition"], row["model"]): row for row in rows}

    def matrix(method: str, key: str, limit: float | None) -> Matrix:
        values = [[by_place[method, condition, model][key] for model in models] for condition in conditions]
        every = [by_place[method, condition, models[0]]["sr_all"] for condition in conditions]
        if key == "sr_mask":
            values = [[*line, last] for line, last in zip(values, every, strict=True)]
        return Matrix(f"{method}\n{COLUMNS[key]}", values, limit)

    methods = [method for method in dict.fromkeys(row["method"] for row in rows) if method != NULL]
    most = max((row["d_mask"] for row in rows if row["d_mask"] == row["d_mask"]), default=0)
    shown = [matrix(method, "sr_mask", 1) for method in methods]
    shown += [matrix(method, "d_mask", max(most, 1e-9)) for method in methods]
    plain = [[False] * (len(models) + 1)] * len(conditions)
    matrices(figure, shown, rows=conditions, columns=[*models, ALL], marked=plain, mark="")
