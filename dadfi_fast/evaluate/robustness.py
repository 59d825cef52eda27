"""Whether protection outlives what happens to pictures on their way: compression, shrinking, blur.

`measure` is shared with `whole_photo`: the same conditions on photos as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from dadfi_fast.check.conditions import WRITTEN, parse
from dadfi_fast.check.sample import Pair
from dadfi_fast.check.verdict import Verdict
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.laboratory import PNG, Form, Laboratory, laboratory, noise_before
from dadfi_fast.evaluate.methods import NOISE, NULL, generators
from dadfi_fast.evaluate.plot import Panel, bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is said of files besides, by what was found and the files.
See: TypeAlias = Callable[[Verdict, Sequence[Pair]], dict[str, Any]]
#: What happens to the written file; `WRITTEN` comes first.
CONDITIONS: Final = tuple(map(parse, ("jpeg:95", "jpeg:90", "jpeg:75", "jpeg:50", "resize:0.5", "blur:3")))
COLUMNS: Final = {
    "method": "method",
    "model": "model",
    "condition": "condition",
    "sr_mask": "SR_mask",
    "d_mask": "d_mask",
    "n_empty": "empty masks",
    "sr_all": "SR_all",
}
#: What the figure calls SR_all.
ALL: Final = "all models (SR_all)"
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
    rows: list[Row] = []
    methods = generators(setup)
    with laboratory(setup) as lab:
        for method in methods:
            with lab.written(method) as pairs:
                verdict = lab.check(pairs, conditions=CONDITIONS)
            rows += [row | lab.facts(method, [row["model"]]) for row in figures(method.name, verdict)]
        rows += controls(lab)
    return Result("robustness", rows, COLUMNS, TEXT, partial(draw, rows=rows))


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


def controls(lab: Laboratory, form: Form = PNG, *, see: See = lambda verdict, pairs: {}) -> list[Row]:
    """The rows of the unchanged pictures, written in this ``form`` and with what ``see`` says of them, and of noise."""
    every = (WRITTEN, *CONDITIONS)
    noisy = [noise_before(lab.setup.strength, condition) for condition in every]
    with lab.written(lab.unchanged(), form) as pairs:
        verdict = lab.check(pairs, conditions=[*CONDITIONS, *noisy])
        seen: dict[str, dict[str, Any]] = {NULL: see(verdict, pairs), NOISE: {}}
    names = {NULL: [each.name for each in every], NOISE: [each.name for each in noisy]}
    return [
        row | seen[method] | lab.facts(models=[row["model"]])
        for method, own in names.items()
        for row in figures(method, verdict, list(zip(own, names[NULL], strict=True)))
    ]


def draw(figure: Figure, *, rows: Sequence[Row]) -> None:
    """Bars of SR_mask and d_mask for each model and condition, ticks where noise lies; below them, SR_all."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    several = len({row["method"] for row in rows}) > 3  # generators, beside the two controls
    shown = [_bar(row, row["model"], row["sr_mask"], row["d_mask"]) for row in rows]
    shown += [_bar(row, ALL, row["sr_all"], math.nan) for row in rows if row["model"] == models[0]]
    noise = {(bar.group, bar.condition): bar for bar in shown if bar.method == NOISE}
    bars_of = [bar for bar in shown if bar.method not in (NULL, NOISE)]
    controls = [noise[bar.group, bar.condition] for bar in bars_of]
    panels = [
        Panel("SR_mask; SR_all", [bar.success for bar in bars_of], [bar.success for bar in controls], 1),
        Panel("d_mask", [bar.distance for bar in bars_of], [bar.distance for bar in controls]),
    ]
    groups = [f"{bar.method}: {bar.group}" if several else bar.group for bar in bars_of]
    bars(figure, panels, labels=[bar.condition for bar in bars_of], groups=groups, control="control: noise")


class _Bar(NamedTuple):
    """A row as the figure has it."""

    method: str
    group: str  # a model, or `ALL`
    condition: str
    success: float
    distance: float


def _bar(row: Row, group: str, success: float, distance: float) -> _Bar:
    return _Bar(row["method"], group, row["condition"], success, distance)
