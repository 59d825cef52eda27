"""How well photos are defended on this machine: the distances between fakes as rows, beside those of the control.

The photos are protected into files by `protect`, in their own formats, and judged by `check`: what a photo's owner
would send off, and what a stranger would make of it. `dadfi_fast.evaluate` measures the same on archives of faces, with
their tables and figures; this is its short form, on anybody's photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.attacks.noise import Noise
from dadfi_fast.bench.end_to_end import disk
from dadfi_fast.bench.photos import Photos
from dadfi_fast.bench.rows import Row, package, summarise
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.check.conditions import WRITTEN, Condition
from dadfi_fast.check.pairs import find_pairs
from dadfi_fast.check.result import CheckResult, check_files
from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
from dadfi_fast.errors import NothingToDo

#: The control, as rows name it: uniform noise of the same strength, written likewise.
CONTROL: Final = "noise"


@dataclass(frozen=True, eq=False)
class Setup:
    """What is measured."""

    photos: Photos
    bench_setup: BenchSetup  # its output folder is the benchmark's own; photos without a face are skipped or copied
    models: Sequence[DeepfakeModel]
    classifier: AttributeModel
    conditions: Sequence[Condition] = ()  # what happens to the files besides


def measure(setup: Setup, *, tick: Callable[[], object] = lambda: None) -> list[Row]:
    """Rows of the generator, then of the control.

    For each model and condition ``d_mask`` (`dadfi_fast.metrics.defence`), whose percentiles and n are those of the
    fakes where the edit changed something (a single 0 where there is none); ``sr_mask``, ``sr``, ``d_pix`` and the
    empty masks stand in ``config``. Then what can be seen: ``PSNR (dB)`` and ``Linf`` (levels of 255, the codec's error
    included), over the files.

    Args:
        tick: called after every file that was checked, `files` times in all where every file has a face.

    Raises:
        NothingToDo: no photo has a face.
        DadfiError: a photo cannot be protected or compared.
    """
    bench_setup = setup.bench_setup
    attacks = {
        bench_setup.provider: (bench_setup.attack, bench_setup.driver),
        CONTROL: (Noise(bench_setup.attack.budget), package("numpy")),
    }
    return [
        row
        for provider, (attack, driver) in attacks.items()
        for row in _rows(_verdict(setup, attack, tick), setup, provider, driver)
    ]


def files(photos: Photos) -> int:
    """How many files are checked at most."""
    return 2 * len(photos.files)


def _verdict(setup: Setup, attack: Attack, tick: Callable[[], object]) -> CheckResult:
    out = setup.bench_setup.config.folder / type(attack).__name__
    disk(setup.bench_setup, out=out, attack=attack)()
    try:
        pairs = find_pairs(out, setup.photos.folder)
    except NothingToDo as error:
        raise NothingToDo(f"no face found in the {len(setup.photos.files)} photos. Choose other photos.") from error
    return check_files(
        pairs,
        models=setup.models,
        classifier=setup.classifier,
        detector=setup.bench_setup.detector,
        conditions=setup.conditions,
        tick=tick,
    )


def _rows(verdict: CheckResult, setup: Setup, provider: str, driver: str) -> Iterator[Row]:
    facts = {
        **setup.photos.facts(),
        "files": len(verdict.samples),
        "strength": setup.bench_setup.attack.budget.eps,
        "generator": setup.bench_setup.attack.backend.artifact.sha256 if provider != CONTROL else None,
        "detector": setup.bench_setup.detector.name,
    }

    def row(case: str, values: Sequence[float], unit: str, **config: Any) -> Row:
        return summarise(case, provider, values, unit=unit, driver=driver, config={**facts, **config})

    for condition in verdict.conditions:
        for model in setup.models:
            scores, found = verdict.scores(model.name, condition), verdict.distances(model.name, condition).mask
            shares = {"sr_mask": scores.sr_mask, "sr": scores.sr, "d_pix": scores.d_pix, "n_empty": scores.n_empty}
            changed = found[~np.isnan(found)].tolist() or [0.0]
            yield row(f"{model.name} {condition}", changed, "d_mask", model=model.card.sha256, **shares)
    differing = [sample.psnr for sample in verdict.samples if np.isfinite(sample.psnr)]
    if differing:
        yield row(f"seen {WRITTEN.name}", differing, "PSNR (dB)")
    yield row(f"seen {WRITTEN.name}", [sample.linf for sample in verdict.samples], "Linf")
