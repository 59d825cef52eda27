"""How plausible the deepfake models' edits are: what is not plausible needs no defence.

For every model and edit, over the drawn pictures:

- edit_accuracy: share of the edited pictures in which the judge sees what was asked for, over those that lacked it
  (`edit_accuracy.asks`); ``unedited`` is the control, the same share of the same pictures before the edit.
- outside: identity kept, see `kept`; ``changed`` is the share of pixels that the edit changed.
- fid: Frechet distance between the edited pictures of one half and the real ones of the other; ``fid_real`` is the
  control, the real ones of the one half against those of the other. n, size and resizing are the same for both, and no
  picture is in both sets. An edit that gives everybody one hair colour moves away from the real mixture even if it is
  perfect: figures of edits to the same attribute can be compared, others hardly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dadfi_fast.check.fake_sets import levels
from dadfi_fast.check.inception import Inception
from dadfi_fast.deepfakes import registry
from dadfi_fast.deepfakes.edits import Aim
from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
from dadfi_fast.evaluate.bar_chart import Panel, bars
from dadfi_fast.evaluate.contact_sheet import Column, draw_sheet
from dadfi_fast.evaluate.edit_accuracy import Hits, hits, scaled
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.sampled_arrays import SampledArrays
from dadfi_fast.metrics.defence import edit_mask
from dadfi_fast.metrics.frechet import frechet_distance
from dadfi_fast.types import LEVELS, Float32, Float64, UInt8

if TYPE_CHECKING:
    from matplotlib.figure import Figure


BATCH: Final = 50
#: Pictures on a contact sheet.
ON_SHEET: Final = 8
COLUMNS: Final = {
    "model": "model",
    "edit": "edit",
    "edit_accuracy": "edit accuracy",
    "unedited": "unedited",
    "n_asked": "n asked",
    "outside": "outside (levels)",
    "changed": "changed",
    "fid": "FID",
    "fid_real": "FID real",
    "fid_n": "n of FID",
}
TEXT: Final = """\
- edit accuracy: share of edited pictures in which the judge sees what was asked for, of the n asked that lacked it
  (hair colours: only where they are added); unedited: the same share of the same pictures before the edit.
- outside: mean absolute difference from the original, in levels of 255, where the edit changed nothing (the three
  channels differ by no more than 0.5 of the range [-1, 1] in sum, so this is 21 at most); changed: share of the other
  pixels.
- FID: edited pictures of one half against real ones of the other, n in each; FID real: real ones against real ones, the
  same halves. Both at the size of the model. Small n gives large figures: compare with FID real only, never with those
  of another n.
- contact sheets: + the edit adds its attribute, - it takes it away, no mark: the picture is already so.
"""


def run(setup: Setup) -> Result:
    """Measure the models of ``setup``.

    Raises:
        UsageError: a model is unknown.
        DataError: the pictures or their labels cannot be read.
        BackendMissing: a Frechet distance is asked for and its network is not installed.
    """
    network = Inception() if setup.fid else None
    judge, folder = registry.load_attributes(), setup.models_dir
    models = registry.load_models(setup.models, folder=folder) if folder else registry.load_models(setup.models)
    pictures = SampledArrays(setup, columns=[name for model in models for name in _attributes(model)], judge=judge)
    reals = Reals(pictures, network, count=min(setup.fid, len(pictures) // 2))
    rows: list[Row] = []
    for model in models:
        measured = measure(model, judge, pictures, reals, tick=setup.progress.tick)
        facts = {"models": {model.name: model.card.sha256}, "judge": {judge.card.name: judge.card.sha256}}
        rows += [
            each.row(model, reals) | facts | {"generator": None} | pictures.facts() | setup.facts() for each in measured
        ]
    sheets = {model.name: contact_sheet(model, pictures) for model in models}
    return Result("plausibility", rows, COLUMNS, TEXT, partial(_draw, rows=rows), sheets=sheets)


def kept(image: Float32, fake: Float32) -> tuple[Float64, Float64]:
    """How far a fake [B, 3, H, W] leaves the original ``image`` alone, both in [-1, 1].

    Returns:
        ``outside`` [B], the mean absolute difference in levels (0-255) over the pixels where the edit changed nothing,
        M = 0 of `dadfi_fast.metrics.defence.edit_mask`: 21.25 at most by that definition, NaN where there is no such
        pixel. And ``changed`` [B], the share of pixels with M = 1: a model that spoils the whole picture shows here.
    """
    same = ~edit_mask(image, fake)
    distance = np.abs(fake.astype(np.float64) - image).mean(axis=1) * LEVELS
    count = same.sum(axis=(1, 2))
    outside = np.where(count > 0, (distance * same).sum(axis=(1, 2)) / np.maximum(count, 1), np.nan)
    return outside, 1 - same.mean(axis=(1, 2))


class Reals:
    """Two sets of ``count`` real pictures for the Frechet distance, the first and the second ``count`` of the sample.

    Args:
        network: gives the features; None where no distance is asked for.
    """

    def __init__(self, pictures: SampledArrays, network: Inception | None, *, count: int) -> None:
        self.network = network if count > 1 else None
        self.count = count if self.network else 0
        self._pictures = pictures
        self._features: dict[int, tuple[Float32, Float32]] = {}

    def features(self, fakes: Float32, start: int) -> Iterator[Float32]:
        """The features of those of ``fakes`` (of the pictures from ``start`` on) that belong to the first set."""
        if self.network is not None and start < self.count:
            yield self.network(levels(fakes[: self.count - start]))

    def distance(self, features: Sequence[Float32], size: int) -> float:
        """From the fakes of the first set to the second set at ``size`` pixels; NaN where none is asked for."""
        return frechet_distance(np.concatenate(features), self._sets(size)[1]) if self.network else float("nan")

    def control(self, size: int) -> float:
        """From the first set to the second; NaN where none is asked for."""
        return frechet_distance(*self._sets(size)) if self.network else float("nan")

    def _sets(self, size: int) -> tuple[Float32, Float32]:
        if size not in self._features:
            assert self.network is not None
            pixels = self._pictures.at(size)
            self._features[size] = self.network(pixels[: self.count]), self.network(pixels[self.count : 2 * self.count])
        return self._features[size]


@dataclass
class Found:
    """What was seen so far of one edit."""

    name: str
    attribute: str
    hits: Hits = field(default_factory=Hits)
    before: Hits = field(default_factory=Hits)
    outside: list[Float64] = field(default_factory=list)
    changed: list[Float64] = field(default_factory=list)
    features: list[Float32] = field(default_factory=list)

    def row(self, model: DeepfakeModel, reals: Reals) -> dict[str, Any]:
        """The figures."""
        outside = np.concatenate(self.outside)
        return {
            "model": model.name,
            "family": model.family,
            "image_size": model.image_size,
            "edit": self.name,
            "attribute": self.attribute,
            "edit_accuracy": self.hits.share,
            "unedited": self.before.share,
            "n_asked": self.hits.asked,
            "outside": float(np.nanmean(outside)) if not np.isnan(outside).all() else float("nan"),
            "changed": float(np.concatenate(self.changed).mean()),
            "fid": reals.distance(self.features, model.image_size),
            "fid_real": reals.control(model.image_size),
            "fid_n": reals.count or None,
        }


def measure(
    model: DeepfakeModel, judge: AttributeModel, pictures: SampledArrays, reals: Reals, *, tick: Callable[[int], object]
) -> list[Found]:
    """Run every picture through every edit of ``model``; ``tick`` is called with the number of fakes made."""
    pixels, labels = pictures.at(model.image_size), pictures.labels(model.attributes)
    by_edit = [Found(name, aim[0]) for name, aim in zip(model.edit_names, model.wanted(labels[:1]), strict=True)]
    own = pictures.labels([each.attribute for each in by_edit])
    for start in range(0, len(pictures), BATCH):
        part = slice(start, start + BATCH)
        x, edits = scaled(pixels[part]), model.edits(labels[part])
        for i, (each, aim) in enumerate(zip(by_edit, model.wanted(labels[part]), strict=True)):
            fake = model.fake(x, edits[i])
            each.hits += hits(judge, fake, aim, own[part, i])
            each.before += hits(judge, x, aim, own[part, i])
            outside, changed = kept(x, fake)
            each.outside.append(outside)
            each.changed.append(changed)
            each.features.extend(reals.features(fake, start))
            tick(len(x))
    return by_edit


def contact_sheet(model: DeepfakeModel, pictures: SampledArrays, *, count: int = ON_SHEET) -> UInt8:
    """The first ``count`` pictures and all their edits; + and - say where an edit adds or takes away: [H, W, 3]."""
    pixels, labels = pictures.at(model.image_size)[:count], pictures.labels(model.attributes)[:count]
    columns = [Column("original", pixels)]
    for name, edit, aim in zip(model.edit_names, model.edits(labels), model.wanted(labels), strict=True):
        marks = _marks(aim, pictures.labels([aim[0]])[:count, 0])
        columns.append(Column(name, levels(model.fake(scaled(pixels), edit)), marks))
    return draw_sheet(columns)


def _marks(aim: Aim, own: Float32) -> list[str]:
    return ["" if has == target else "+" if target else "-" for has, target in zip(own, aim[1], strict=True)]


def _attributes(model: DeepfakeModel) -> list[str]:
    """What the pictures' labels must say for this model: what its edits start from, and what they aim at."""
    nobody = np.zeros((1, len(model.attributes)), np.float32)
    return [*model.attributes, *(attribute for attribute, _ in model.wanted(nobody))]


def _draw(figure: Figure, *, rows: Sequence[Row]) -> None:
    def column(key: str) -> list[float]:
        return [row[key] for row in rows]

    panels = [
        Panel("edit accuracy", column("edit_accuracy"), column("unedited"), limit=1),
        Panel("outside the edit (levels)", column("outside")),
        Panel("share of pixels changed", column("changed"), limit=1),
    ]
    if rows[0]["fid_n"]:
        panels.append(Panel(f"FID (n = {rows[0]['fid_n']} and {rows[0]['fid_n']})", column("fid"), column("fid_real")))
    labels = [f"{row['edit']}".replace("_", " ") for row in rows]
    control = "control: unedited pictures; real against real"
    bars(figure, panels, labels=labels, groups=[row["model"] for row in rows], control=control)
