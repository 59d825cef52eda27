"""The generator alone, on crops that lie in memory: every backend that runs here, beside PyTorch eager in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.registry import BACKENDS, choose
from dadfi_fast.bench.rows import package
from dadfi_fast.bench.timing import Case
from dadfi_fast.device import cores
from dadfi_fast.errors import DadfiError
from dadfi_fast.types import LEVELS, Float32

BATCHES: Final = (1, 8)
#: How the rows call it.
PREFIX: Final = "generator "
#: The reference.
TORCH: Final = "torch"
#: A round goes on for about this many crops: long enough for the clock, short enough for many rounds.
CROPS: Final = 16


@dataclass(frozen=True, eq=False)
class ComparedBackends:
    """The backends that are timed; the first is the one that was chosen."""

    chosen: Backend
    others: tuple[Backend, ...]
    missing: tuple[str, ...]  # why the rest is not timed

    @property
    def every(self) -> tuple[Backend, ...]:
        return self.chosen, *self.others

    @property
    def torch(self) -> Backend | None:
        """The reference, where it is installed."""
        return next((each for each in self.every if each.name == TORCH), None)


def compared_backends(generator_file: GeneratorFile, *, name: str = "auto", device: str = "cpu") -> ComparedBackends:
    """The backend ``name``, and whatever else can run on ``device``.

    Raises:
        BackendMissing: the one that was named cannot run here.
    """
    kind, _ = choose(name, device=device)
    chosen = kind(generator_file, device=device, threads=cores())
    others: list[Backend] = []
    missing: list[str] = []
    for each in BACKENDS:
        if each == chosen.name:
            continue
        try:
            others.append(choose(each)[0](generator_file, device=device, threads=cores()))
        except DadfiError as error:
            missing.append(str(error))
    return ComparedBackends(chosen, tuple(others), tuple(missing))


def cases(backends: ComparedBackends, crops: Float32) -> list[Case]:
    """A case for each backend and batch size; ``crops`` [B, 3, S, S] in [-1, 1] are repeated as needed."""
    return [_case(backend, _repeat(crops, batch)) for batch in BATCHES for backend in backends.every]


def case_name(batch: int) -> str:
    """How the rows call the generator on ``batch`` crops at once."""
    return f"{PREFIX}batch {batch}"


def largest_difference(backend: Backend, reference: Backend, crops: Float32) -> float:
    """How far the outputs of two backends are apart at most, in levels of 0-255."""
    return float(np.abs(backend(crops) - reference(crops)).max()) * LEVELS


def _case(backend: Backend, crops: Float32) -> Case:
    calls = max(1, CROPS // len(crops))

    def work() -> int:
        for _ in range(calls):
            backend(crops)
        return calls * len(crops)

    facts = {
        "batch": len(crops),
        "size": crops.shape[-1],
        "generator": backend.generator_file.sha256,
        "threads": cores(),
    }
    name = case_name(len(crops))
    return Case(name, backend.describe, package(backend.name), work, unit="crops/s", config=facts)


def _repeat(crops: Float32, n: int) -> Float32:
    index: Sequence[int] = [i % len(crops) for i in range(n)]
    return np.ascontiguousarray(crops[index])
