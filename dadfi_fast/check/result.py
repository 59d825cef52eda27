"""The verdict: a sample of written files against the deepfake models, and what the figures say."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from dadfi_fast.check.appearance import Appearance, look
from dadfi_fast.check.callbacks import Callback, show
from dadfi_fast.check.codes import QUALITY, Codes, EncoderJudge
from dadfi_fast.check.conditions import WRITTEN, Condition
from dadfi_fast.check.distances import Distances, See, measure
from dadfi_fast.check.fake_sets import FakeSets
from dadfi_fast.check.file_result import FileResult
from dadfi_fast.check.inception import Inception
from dadfi_fast.check.pairs import Pair, draw
from dadfi_fast.check.preprocess import Find
from dadfi_fast.check.runner import Runner
from dadfi_fast.deepfakes import registry
from dadfi_fast.deepfakes.encoders import EncoderModel
from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
from dadfi_fast.errors import DadfiError, NothingToDo
from dadfi_fast.files import json_safe
from dadfi_fast.metrics.defence import SUCCESS, Scores, score, success
from dadfi_fast.metrics.visibility import FaceAppearance
from dadfi_fast.types import Float64

#: Why a Frechet distance is null, and what is said of one.
NO_FID: Final = "not asked for; check --fid N measures it, with N fakes in each of the two sets"
TOO_FEW: Final = "fewer than two fakes: there is nothing to compare"


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What `check_files` found; at least one sample."""

    #: Heads of `rows`.
    COLUMNS: ClassVar = (
        "condition", "adversary", "model", "edits", "d_pix", "d_mask", "SR", "SR_mask", "empty masks", "SR_all",
    )  # fmt: skip
    #: Heads of `encoder_rows`.
    ENCODER_COLUMNS: ClassVar = (
        "condition", "adversary", "encoder", "reads", "measure", "faces", "mean", "p20", "p50", "p80", "broken",
        "noise", f"JPEG {QUALITY}", "PSNR of reconstructions",
    )  # fmt: skip

    samples: tuple[FileResult, ...]
    failures: tuple[tuple[Pair, str], ...]  # pairs that could not be compared, and why
    models: tuple[str, ...]
    adversaries: Mapping[str, str]  # condition -> A1 or A2; the first condition is the picture as written
    n_pairs: int  # that the sample was drawn from
    seed: int
    fakes: FakeSets | None = None  # for the Frechet distance, where it was asked for
    appearance: Appearance = field(default_factory=Appearance)  # how visible the protection is, where it was asked for
    judges: tuple[EncoderJudge, ...] = ()  # the encoders that were run, and what they made of the crops

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of the conditions, the picture as written first."""
        return tuple(self.adversaries)

    def scores(self, model: str, condition: str = WRITTEN.name) -> Scores:
        """The figures of one model."""
        joined = self.distances(model, condition)
        return score(joined.pix, joined.mask)

    def success(self, model: str) -> float:
        """SR_mask of one model on the files as written."""
        return self.scores(model).sr_mask

    @property
    def encoders(self) -> tuple[str, ...]:
        """The names of the encoders."""
        return tuple(judge.model.name for judge in self.judges)

    def codes(self, encoder: str, condition: str = WRITTEN.name, *, pair: Pair | None = None) -> Codes:
        """What one encoder made of all faces of all samples, in their order, or of those of one pair."""
        judge = self.judges[self.encoders.index(encoder)]
        return judge.codes([pair] if pair else [sample.pair for sample in self.samples], condition)

    def sr_all(self, condition: str = WRITTEN.name) -> float:
        """Share of pictures where every model fails at every edit of every face; NaN where no model was run."""
        if not self.models:
            return math.nan
        return float(np.mean([sample.looks[condition].protected for sample in self.samples]))

    def beaten(self, model: str, condition: str = WRITTEN.name) -> int:
        """The samples in which every fake by ``model`` is broken: each edit of each face that changed anything."""
        masks = (sample.looks[condition].distances[model].mask for sample in self.samples)
        return sum(bool((success(mask) | np.isnan(mask)).all() and not np.isnan(mask).all()) for mask in masks)

    def worst(self) -> list[FileResult]:
        """The samples, those with the least broken fakes first."""
        return sorted(self.samples, key=lambda sample: np.nan_to_num(sample.looks[WRITTEN.name].weakest, nan=-1.0))

    def files(self) -> Iterator[dict[str, Any]]:
        """The samples as JSON has them, as `worst` sorts them; how visible a change is, where it was measured."""
        for sample in self.worst():
            seen = self.appearance.photos.get(sample.pair)
            visible = asdict(seen) if seen else dict.fromkeys(each.name for each in fields(FaceAppearance))
            codes = {name: self.codes(name, pair=sample.pair).figures().tolist() for name in self.encoders}
            yield {**sample.to_dict(), **visible, **({"encoders": codes} if codes else {})}

    def psnrs(self) -> list[float]:
        """PSNR in dB of the samples that differ from their originals."""
        return [sample.psnr for sample in self.samples if math.isfinite(sample.psnr)]

    def rows(self) -> Iterator[tuple[str | int | float, ...]]:
        """A table row for each condition and model, under `COLUMNS`."""
        for condition in self.conditions:
            for model in self.models:
                s = self.scores(model, condition)
                figures = (s.d_pix, s.d_mask, s.sr, s.sr_mask, s.n_empty, self.sr_all(condition))
                yield (condition, self.adversaries[condition], model, s.n_edits, *figures)

    def encoder_rows(self) -> Iterator[tuple[str | int | float | None, ...]]:
        """A table row for each condition and encoder, under `ENCODER_COLUMNS`."""
        for condition in self.conditions:
            for name in self.encoders:
                codes, kind = self.codes(name, condition), self.codes(name, condition).kind
                means = [float(codes.figures(which).mean()) for which in ("protected", "noise", "jpeg")]
                yield (
                    condition, self.adversaries[condition], name, kind.reads, kind.measure, len(codes.protected),
                    means[0], *codes.percentiles(), codes.broken(), *means[1:], json_safe(codes.reconstruction),
                )  # fmt: skip

    def encoder_sentences(self) -> Iterator[str]:
        """What `encoder_rows` say of the files as written, in words."""
        for name in self.encoders:
            codes, kind = self.codes(name), self.codes(name).kind
            broken, n = round(codes.broken() * len(codes.protected)), len(codes.protected)
            rule = f"{kind.measure} {'at most' if kind.unit else 'at least'} {kind.threshold:g}"
            yield f"{name} ({kind.reads}, {kind.role}): {broken} of {n} codes broken ({rule}); {kind.limit}"

    def sentence(self) -> str:
        """What `rows` say of the files as written, in words; empty where no model was run."""
        if not self.models:
            return ""
        count = len(self.samples)
        safe = sum(sample.looks[WRITTEN.name].protected for sample in self.samples)
        shares = ", ".join(f"{model} {self.success(model):.1%}" for model in self.models)
        photos = ", ".join(f"{model} {self.beaten(model)} of {count}" for model in self.models)
        fakes = f"broken fakes (SR_mask): {shares}"
        return f"{fakes}\nphotos with every fake broken: {photos}; by all models at once (SR_all): {safe} of {count}"

    def fid(self, model: str, condition: str = WRITTEN.name) -> tuple[float | None, int | None]:
        """The Frechet distance of one model's two sets of fakes, and n, the fakes in each; None where there is none."""
        if self.fakes is None or not (n := self.fakes.n(model, condition)):
            return None, None
        return json_safe(self.fakes.distance(model, condition)), n

    def fid_sentence(self) -> str:
        """The Frechet distances of the files as written, in words; empty where none was asked for."""
        distances = [(model, *self.fid(model)) for model in self.models] if self.fakes else []
        shown = [f"{model} {distance:.4g} (n = {n})" for model, distance, n in distances if distance is not None]
        if not distances:
            return ""
        figures = ", ".join(shown) or TOO_FEW
        return f"Frechet inception distance (FID) of the fakes: {figures}; compare only with figures of the same n"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as ``check --json`` prints it: figures that do not exist are None."""
        differing = self.psnrs()
        seen = [sample.looks[WRITTEN.name] for sample in self.samples]
        return {
            "n": len(self.samples),
            **self._condition(WRITTEN.name),
            "psnr": _mean(differing),
            "ssim": _mean([sample.ssim for sample in self.samples if not math.isnan(sample.ssim)]),
            "linf_max": max(sample.linf for sample in self.samples),
            **self.appearance.to_dict(),
            "n_pairs": self.n_pairs,
            "n_failed": len(self.failures),
            "n_identical": len(self.samples) - len(differing),
            "n_faces": sum(each.faces for each in seen if each.found),
            "n_no_face": sum(not each.found for each in seen),
            "seed": self.seed,
            "threshold": SUCCESS,
            "fid_reason": self._no_fid(),
            "conditions": {name: self._condition(name) for name in self.conditions[1:]},
            "failures": [{"target": pair.name, "error": why} for pair, why in self.failures],
        }

    def _condition(self, name: str) -> dict[str, Any]:
        models = {model: self._model(model, name) for model in self.models}
        figures = {"models": models, "adversary": self.adversaries[name], "sr_all": json_safe(self.sr_all(name))}
        encoders = {encoder: self.codes(encoder, name).to_dict() for encoder in self.encoders}
        return {**figures, **({"encoders": encoders} if encoders else {})}

    def _model(self, model: str, condition: str) -> dict[str, Any]:
        s, joined = self.scores(model, condition), self.distances(model, condition)
        fid, n = self.fid(model, condition)
        return {
            "n_edits": s.n_edits,
            "d_pix": s.d_pix,
            "d_mask": json_safe(s.d_mask),
            **_percentiles("d_mask", joined.mask),
            "sr": s.sr,
            "sr_mask": s.sr_mask,
            "n_empty": s.n_empty,
            "fid": fid,
            "fid_n": n,
            "d_original": float(joined.original.mean()),
            "d_original_null": float(joined.null.mean()),
        }

    def _no_fid(self) -> str | None:
        if self.fakes is None:
            return NO_FID
        return TOO_FEW if all(self.fid(model)[0] is None for model in self.models) else None

    def distances(self, model: str, condition: str = WRITTEN.name) -> Distances:
        """What one model made of all faces of all samples, in their order."""
        return Distances.join([sample.looks[condition].distances[model] for sample in self.samples])


def check_files(
    pairs: Sequence[Pair | tuple[str | Path, str | Path]],
    *,
    models: Sequence[DeepfakeModel] | None = None,
    encoders: Sequence[EncoderModel] | None = None,
    classifier: AttributeModel | None = None,
    detector: Find | None = None,
    sample: int | None = None,
    seed: int = 0,
    conditions: Sequence[Condition] = (),
    watchers: Sequence[Callback] = (),
    fid: int = 0,
    visibility: int = 0,
    tick: Callable[[], object] = lambda: None,
) -> CheckResult:
    """Run written files through deepfake models and encoders, beside their originals.

    Args:
        pairs: (original, protected), or what `find_pairs` gives.
        models: deepfake models; all that are there where None.
        encoders: encoders; all that were added where neither they nor ``models`` are given.
        classifier: says which attributes a photo has; the bundled one where None.
        detector: how the adversary finds faces; the default one where None.
        sample: check this many pairs, drawn at random; all where None.
        seed: of the drawing.
        conditions: what else is done to the protected picture first, and how else it is cropped; each gives figures of
            its own.
        watchers: are shown the pictures while they are there.
        fid: fakes in each of the two sets of a Frechet distance, as far as there are so many; 0: it is not measured.
        visibility: photos of the sample whose visibility is measured; 0: none.
        tick: called after every pair.

    Raises:
        NothingToDo: there are no pairs.
        DadfiError: none of the pairs could be compared.
        WeightsError: a model is missing or damaged.
        BackendMissing: a Frechet distance is asked for and its network is not installed.
    """
    fakes = FakeSets(Inception(), count=fid, conditions=[each.name for each in (WRITTEN, *conditions)]) if fid else None
    watchers = [*watchers, fakes] if fakes else watchers
    known = list(dict.fromkeys(pair if isinstance(pair, Pair) else _pair(*map(Path, pair)) for pair in pairs))
    drawn = draw(known, n=sample, seed=seed)
    if not drawn:
        raise NothingToDo("no file to check")
    if encoders is None:
        encoders = registry.load_encoders() if models is None else ()
    models = registry.load_models() if models is None else models
    classifier = registry.load_attributes() if classifier is None else classifier
    every = {condition.name: condition for condition in (WRITTEN, *conditions)}
    judges = tuple(EncoderJudge(encoder) for encoder in encoders)
    sizes = {classifier.image_size, *(model.image_size for model in models), *(watch.size for watch in watchers)}
    sizes |= {encoder.image_size for encoder in encoders}
    see: See | None = functools.partial(show, watchers) if watchers else None
    find = detector or _default_detector()
    runner = Runner(find, list(every.values()), sizes)
    for batch in runner.batches(drawn, tick=tick):
        for watch in watchers:
            watch.crops(batch)
        for judge in judges:
            judge.see(batch)
        distances = measure([crop for _, crop in batch], models=models, classifier=classifier, see=see)
        runner.enter([key for key, _ in batch], distances)
    samples, failures = runner.samples(), tuple(runner.failures)
    if not samples:
        raise DadfiError(f"none of the {len(drawn)} files could be compared. The first error: {failures[0][1]}")
    seen = look([sample.pair for sample in samples], find, count=visibility)
    names = tuple(model.name for model in models)
    adversaries = {name: condition.adversary for name, condition in every.items()}
    return CheckResult(samples, failures, names, adversaries, len(known), seed, fakes, seen, judges)


def _pair(original: Path, protected: Path) -> Pair:
    return Pair(protected.name, original, protected)


def _default_detector() -> Find:
    from dadfi_fast.faces.detector import choose_detector

    return choose_detector("auto")[0]


def _percentiles(name: str, distances: Float64) -> dict[str, float | None]:
    """The 20th, 50th and 80th percentile of ``distances``, empty masks left out; None where nothing is left."""
    changed = distances[~np.isnan(distances)]
    return {f"{name}_p{p}": float(np.percentile(changed, p)) if changed.size else None for p in (20, 50, 80)}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
