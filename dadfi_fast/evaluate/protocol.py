"""Where experiments on written files are made: pictures are protected into files, and the files are checked.

Every method goes the way of ``protect`` (detection, crop, blending, rounding, encoding) and is judged the way of
``check`` (files read, the adversary's own detection and crop); only the attack in between differs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dadfi_fast.attacks.base import CROP_SIZE
from dadfi_fast.check.callbacks import Callback
from dadfi_fast.check.conditions import Condition, parse
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.preprocess import read
from dadfi_fast.check.result import CheckResult, check_files
from dadfi_fast.deepfakes import registry
from dadfi_fast.errors import DataError
from dadfi_fast.evaluate.experiment import Row, Setup
from dadfi_fast.evaluate.methods import NOISE, NULL, Method, Unchanged
from dadfi_fast.evaluate.result_cache import Unit, measured
from dadfi_fast.evaluate.sampled_files import SampledFiles
from dadfi_fast.faces.align import whole
from dadfi_fast.faces.detector import choose_detector
from dadfi_fast.faces.resample import resize
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.crop import crops, squares
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.pipeline import protect
from dadfi_fast.protect.results import Outcome, Written
from dadfi_fast.types import Budget, Float32


@dataclass(frozen=True)
class Form:
    """How pictures are written."""

    format: str = "png"  # of `dadfi_fast.protect.config.FORMATS`
    no_face: str = "whole"  # what becomes of a picture in which no face is found


#: Without loss, so that the figures are those of the method and not of a codec.
PNG: Final = Form()


class Protocol:
    """The drawn pictures, the deepfake models and the detector of one experiment.

    Args:
        folder: an empty one, for the pictures and for what is made of them.

    Raises:
        UsageError: a model is unknown.
        DataError: the pictures cannot be read.
        BackendMissing: the detector cannot run here.
    """

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup, self.folder = setup, folder
        self.models = registry.load_models(setup.models, folder=setup.models_dir)
        self.classifier = registry.load_attributes()
        self.detector, self._why = choose_detector(setup.detector, model=setup.detector_model, small_faces="never")
        self.originals = SampledFiles(setup, folder / "originals")

    @contextmanager
    def written(self, method: Method, form: Form = PNG) -> Iterator[list[Pair]]:
        """What ``method`` makes of the pictures, as files, which are gone afterwards.

        A picture that is left as it is, as no face is found in it, is not among them.

        Raises:
            DataError: a picture cannot be protected.
            KeyboardInterrupt: the run was ended from outside.
        """
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            yield self._protect(method, Path(out), form)

    def check(
        self, pairs: Sequence[Pair], *, conditions: Sequence[Condition] = (), watchers: Sequence[Callback] = ()
    ) -> CheckResult:
        """What the deepfake models make of the files.

        Raises:
            DataError: a pair cannot be compared.
            NothingToDo: there is none.
        """
        result = check_files(
            pairs,
            models=self.models,
            classifier=self.classifier,
            detector=self.detector,
            conditions=conditions,
            watchers=watchers,
            tick=lambda: self.setup.progress.tick(1),
        )
        for pair, why in result.failures:
            raise DataError(f"{pair.name}: {why}. Remove the image from the data.")
        return result

    def crops(
        self, originals: SampledFiles | None = None, *, count: int | None = None, size: int = CROP_SIZE
    ) -> Float32:
        """The best face of each picture, or the whole of it, as ``protect`` hands it to an attack: [N, 3, S, S].

        Args:
            originals: of which pictures; those of the protocol where None.
            count: of the first so many only; of all where None.
            size: S.
        """
        batches = []
        for path in sorted((originals or self.originals).folder.iterdir())[:count]:
            pixels = read(path)
            faces = self.detector(pixels) or [whole(*pixels.shape[:2])]
            batches.append(crops(pixels, squares(faces[:1]), size=size))
        return np.concatenate(batches)

    def labels(self, pictures: Float32, columns: Sequence[str]) -> Float32:
        """Which of the attributes ``columns`` the classifier sees in ``pictures`` [N, 3, S, S]: [N, A]."""
        small = resize(pictures, self.classifier.image_size)
        return self.classifier.labels(small, columns, unknown_as=0)

    def measured(self, experiment: str, units: Sequence[Unit]) -> list[Row]:
        """The rows of ``units``; see `dadfi_fast.evaluate.result_cache.measured`."""
        return measured(experiment, units, self.setup, pictures=len(self.originals))

    def unit(self, name: str, measure: Callable[[], Iterable[Row]], method: Method | None = None, **facts: Any) -> Unit:
        """A unit that is done when ``measure`` has given its rows.

        Args:
            name: what the user is told.
            method: whose generator the rows depend on.
            facts: what they depend on besides.
        """
        drawn = {"pictures": self.originals.sha256, "fid": self.setup.fid, "cmua_compat": self.setup.cmua_compat}
        return Unit(name, {**drawn, **self.facts(method), **facts}, measure)

    def unchanged(self) -> Method:
        """The control that changes nothing."""
        return Method(NULL, Unchanged(Budget(self.setup.strength)))

    def facts(self, method: Method | None = None, models: Sequence[str] = ()) -> dict[str, Any]:
        """What every row says: of the pictures, of ``method``, of the models (all where none is named), of the run."""
        named = {m.name: m.card.sha256 for m in self.models if not models or m.name in models}
        return {
            "models": named,
            "generator": method.generator if method else None,
            "runs_on": method.runs_on if method else None,
            "strength": self.setup.strength,
            "classifier": {self.classifier.card.name: self.classifier.card.sha256},
            "detector": f"{self.detector.name} ({self._why})",
            **self.originals.facts(),
            **self.setup.facts(),
        }

    def _protect(self, method: Method, out: Path, form: Form) -> list[Pair]:
        pairs: list[Pair] = []

        def take(outcome: Outcome) -> None:
            self.setup.progress.tick(1)
            if isinstance(outcome, Written):
                pairs.append(Pair(outcome.target, outcome.entry.path, out / outcome.target))

        config = ProtectConfig(
            sources=(str(self.originals.folder),), out=out, strength=self.setup.strength, detector=self.detector.name,
            no_face=form.no_face, format=form.format, verify=0,
        )  # fmt: skip
        facts = Facts(config.fingerprint, method.generator or "", method.runs_on or method.name)
        summary = protect(config, detector=self.detector, attack=method.attack, facts=facts, tick=take)
        if summary.interrupted:
            raise KeyboardInterrupt
        for source, error in summary.failures:
            raise DataError(f"{source}: {error}. Remove the image from the data.")
        self.setup.progress.tick(len(self.originals) - len(pairs))  # what is not written is not checked
        return pairs


@contextmanager
def open_protocol(setup: Setup) -> Iterator[Protocol]:
    """A protocol in a temporary folder; the errors are those of `Protocol`."""
    with tempfile.TemporaryDirectory(prefix="dadfi-") as folder:
        yield Protocol(setup, Path(folder))


def noise_before(strength: float, condition: Condition) -> Condition:
    """The control under ``condition``: uniform noise of this strength instead of the protection, then the same."""
    noise = parse(f"{NOISE}:{strength:g}")
    return Condition(f"{noise.name} {condition.name}", lambda one, other: condition.treat(*noise.treat(one, other)))
