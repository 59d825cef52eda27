"""What breaks against what is seen: every method at several strengths, on whole photos as ``protect`` writes them.

Two methods of one strength cannot be compared where one of them is seen more; two curves can.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.check.conditions import WRITTEN, parse
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.preprocess import read
from dadfi_fast.check.result import CheckResult
from dadfi_fast.errors import BackendMissing
from dadfi_fast.evaluate.compared_methods import facts, gather, informed
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.methods import Method, generators
from dadfi_fast.evaluate.protocol import Protocol, open_protocol
from dadfi_fast.evaluate.whole_photo import AS_PROTECT
from dadfi_fast.faces.align import changed_crops, square
from dadfi_fast.metrics.perceptual import need
from dadfi_fast.metrics.visibility import JUDGES, METRICS, JpegScores, Metric
from dadfi_fast.palette import COLOURS
from dadfi_fast.types import Budget, Float32, UInt8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The strengths of a curve, as multiples of the setup's.
FACTORS: Final = (0.6, 0.8, 1.0, 1.2, 1.6)
#: What happens to the written file; `WRITTEN` comes first.
CONDITIONS: Final = tuple(map(parse, ("margin:0.9", "margin:1.1", "jpeg:75")))
#: Photos whose visibility is measured, which takes far longer than asking the models.
LOOKED_AT: Final = 4
#: The visibility that methods are compared at, as a JPEG quality.
EQUAL: Final = 75
_SR_MASK: Final = {
    condition.name: "sr_mask" if condition is WRITTEN else f"sr_mask_{condition.name}"
    for condition in (WRITTEN, *CONDITIONS)
}
COLUMNS: Final = {
    "method": "method",
    "strength": "strength",
    "model": "model",
    "jpeg_equivalent": "JPEG equivalent",
    "jpeg_equivalent_worst": "worst",
    "sr_mask": "SR_mask",
    **{_SR_MASK[condition.name]: condition.name for condition in CONDITIONS},
    "d_mask": "d_mask",
}
TEXT: Final = """\
- strength: the largest change on the [-1, 1] scale; the perturbation of the first strength times a factor.
- JPEG equivalent: the quality (4:2:0) at which a JPEG of the original's face crop scores as the protected one does; of
  each photo the lowest of the metrics; median and worst of the photos that were looked at.
- SR_mask: share of fakes whose d_mask is above 0.05, for the file as `protect` writes it and the adversary's own
  detection and crop (A1); margin: with crops so much wider (A2); jpeg: compressed once more, 4:2:0.
"""


class Scaled(Attack):
    """Another attack's perturbation times ``factor``, with the budget to match."""

    def __init__(self, attack: Attack, factor: float) -> None:
        super().__init__(Budget(attack.budget.eps * factor))
        self.attack, self.factor, self.crop_size = attack, np.float32(factor), attack.crop_size

    def run(self, crops: Float32) -> Float32:
        return self.attack(crops) * self.factor


class Looks:
    """How visible changes of the same photos are; what JPEGs of the originals score is found out once."""

    def __init__(self) -> None:
        need()
        self.metrics, self.absent = _metrics()
        self._scores: dict[tuple[str, str], JpegScores] = {}

    def __call__(self, protocol: Protocol, pairs: Sequence[Pair]) -> dict[str, Any]:
        """The JPEG equivalents of `LOOKED_AT` of ``pairs``, evenly spaced, that have a face and differ; NaN without."""
        photos: list[dict[str, int]] = []
        for pair in pairs[:: max(1, len(pairs) // LOOKED_AT)]:
            original, changed = read(pair.original), read(pair.protected)
            faces = changed_crops(original, changed, map(square, protocol.detector(original)))
            if faces and len(photos) < LOOKED_AT:
                each = [self._equivalents(*face) for face in faces]
                photos.append({name: min(face[name] for face in each) for name in self.metrics})
        lowest = [min(photo.values()) for photo in photos]
        return {
            "jpeg_equivalent": statistics.median(lowest) if lowest else float("nan"),
            "jpeg_equivalent_worst": min(lowest) if lowest else float("nan"),
            "n_looked_at": len(lowest),
            "jpeg_equivalents": {name: statistics.median(p[name] for p in photos) for name in self.metrics if photos},
        }

    def _equivalents(self, original: UInt8, changed: UInt8) -> dict[str, int]:
        key = hashlib.sha256(original.data).hexdigest()
        return {
            name: self._scores.setdefault((key, name), JpegScores(metric, original)).equivalent(changed)
            for name, metric in self.metrics.items()
        }


def run(setup: Setup) -> Result:
    """Measure the generators of ``setup``, and the attacks that it names, at `FACTORS` times its strength.

    Raises:
        UsageError: a model, a generator or an attack is unknown.
        DataError: the pictures cannot be read.
        NothingToDo: there is no face in any of them.
        BackendMissing: FLIP or SSIMULACRA2 is not installed.
    """
    looks = Looks()
    with open_protocol(setup) as protocol:
        compared = gather(protocol) if setup.methods else None
        methods = [informed(protocol, compared, each) for each in compared.methods] if compared else generators(setup)
        units = [
            protocol.unit(
                f"{method.name} at {factor * setup.strength:.3g}",
                partial(_measured, protocol, method, factor, looks),
                method,
                **(facts(protocol, method) if compared else {}),
                factor=factor,
                looked_at=[LOOKED_AT, *looks.metrics],
            )
            for method in methods
            for factor in FACTORS
        ]
        rows = protocol.measured("trade-off", units)
    named = ", ".join(looks.metrics)
    text = (
        TEXT
        + f"- metrics: {named}.\n"
        + "".join(f"- {name} is left out: {why}\n" for name, why in looks.absent.items())
    )
    return Result("trade-off", rows, COLUMNS, text, partial(draw, rows=rows), answer(rows))


def _measured(protocol: Protocol, method: Method, factor: float, looks: Looks) -> Iterator[Row]:
    scaled = replace(method, attack=Scaled(method.attack, factor))
    with protocol.written(scaled, AS_PROTECT) as pairs:
        result = protocol.check(pairs, conditions=CONDITIONS)
        seen = looks(protocol, pairs)
    for model in result.models:
        yield {
            "method": method.name,
            **_figures(result, model),
            **seen,
            "n_written": len(pairs),
            **facts(protocol, method),
            **protocol.facts(method, [model]),
            "strength": round(factor * protocol.setup.strength, 6),
        }


def _figures(result: CheckResult, model: str) -> dict[str, Any]:
    shares = {key: result.scores(model, name).sr_mask for name, key in _SR_MASK.items()}
    return {"model": model, "d_mask": result.scores(model, WRITTEN.name).d_mask, **shares}


def _metrics() -> tuple[Mapping[str, Metric], Mapping[str, str]]:
    """Those that can run here, and why the others cannot."""
    flat, absent = np.full((64, 64, 3), 128, np.uint8), dict[str, str]()
    for name, metric in JUDGES.items():
        try:
            metric(flat, flat)
        except BackendMissing as error:
            absent[name] = str(error)
    return {name: metric for name, metric in [*METRICS.items(), *JUDGES.items()] if name not in absent}, absent


def answer(rows: Sequence[Row]) -> str:
    """SR_mask of each method at the visibility `EQUAL`, between the two strengths that are nearest, Markdown."""
    lines = []
    for model, method in dict.fromkeys((row["model"], row["method"]) for row in rows):
        own = [row for row in rows if (row["model"], row["method"]) == (model, method)]
        told = [f"{name} {share:.3f}" for name, key in _SR_MASK.items() if (share := at_look(own, key)) is not None]
        reach = "; ".join(f"{row['jpeg_equivalent']:g} at {row['strength']:g}" for row in own)
        lines.append(f"- {model}, {method}: {', '.join(told) or f'does not pass it ({reach})'}")
    return "\n".join([f"**SR_mask where the change looks like a JPEG of quality {EQUAL}:**", "", *lines])


def at_look(rows: Sequence[Row], key: str, *, look: float = EQUAL) -> float | None:
    """The figure ``key`` of one method's ``rows`` where the JPEG equivalent is ``look``, by linear interpolation; None
    where all strengths are seen more, or all less."""
    looked_at = [row for row in rows if row["jpeg_equivalent"] == row["jpeg_equivalent"]]
    points = np.array(sorted((row["jpeg_equivalent"], row[key]) for row in looked_at)).reshape(-1, 2)
    if not len(points) or not points[0, 0] <= look <= points[-1, 0]:
        return None
    return float(np.interp(look, points[:, 0], points[:, 1]))


def draw(figure: Figure, *, rows: Sequence[Row]) -> None:
    """SR_mask over the JPEG equivalent, a line for each method, a panel for each model and condition."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure.set_size_inches(3.2 * len(_SR_MASK), 3.0 * len(models) + 0.6)
    grid = figure.subplots(len(models), len(_SR_MASK), sharex=True, sharey=True, squeeze=False)
    for line, model in zip(grid, models, strict=True):
        for axis, (condition, key) in zip(line, _SR_MASK.items(), strict=True):
            for number, method in enumerate(methods):
                own = [row for row in rows if (row["model"], row["method"]) == (model, method)]
                points = [(row["jpeg_equivalent"], row[key]) for row in own]
                axis.plot(*zip(*points, strict=True), "o-", color=COLOURS[number % len(COLOURS)], label=method)
                for (x, y), row in zip(points, own, strict=True):
                    axis.annotate(f"{row['strength']:g}", (x, y), fontsize=6, xytext=(3, 3), textcoords="offset points")
            axis.axvline(EQUAL, color="grey", linewidth=0.8, linestyle="--")
            axis.set_title(f"{model}, {condition}", fontsize="small")
            axis.set_ylim(-0.03, 1.03)
            axis.grid(alpha=0.3)
    for axis in grid[-1]:
        axis.set_xlabel("JPEG equivalent", fontsize="small")
    for line in grid:
        line[0].set_ylabel("SR_mask", fontsize="small")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
