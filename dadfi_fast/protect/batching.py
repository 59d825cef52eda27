"""Batch the face crops of several photos for the generator; each photo comes back with its own, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Final, TypeAlias

import numpy as np

from dadfi_fast.attacks.base import Attack, FaceView
from dadfi_fast.protect.interrupt import Stop
from dadfi_fast.protect.job import PhotoJob, require
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.prefetch import prefetch
from dadfi_fast.protect.results import Failed
from dadfi_fast.types import Float32

#: Batches under way where a pool works on them: one is copied to or from a GPU while the other is worked on there, each
#: in memory and on a stream of its own (`backends.cuda_graph.GraphRunner`).
AHEAD: Final = 2
#: Bytes of files that may wait for a batch to fill.
_FILES: Final = 64 << 20
#: Gives the faces of a photo at its own size.
View: TypeAlias = Callable[[PhotoJob], Sequence[FaceView]]


def perturb(
    jobs: Iterable[PhotoJob],
    attack: Attack,
    *,
    batch: int,
    heaviest: int,
    pool: Executor | None = None,
    meter: Meter | None = None,
    stop: Stop | None = None,
    view: View | None = None,
) -> Iterator[PhotoJob]:
    """Give every photo the perturbations of its faces; jobs that are at another stage flow on, in their place.

    Args:
        jobs: photos with their crops, and others; pulled in the caller's thread.
        attack: what perturbs.
        batch: crops to a call.
        heaviest: pixels of photos that may wait for a batch to fill.
        pool: calls ``attack``, `AHEAD` batches at a time; None: the caller's thread does, one after the other.
        meter: is told what it takes.
        stop: once it is late, what the pool has not given back is left.
        view: what the attack's refiner, where it has one, sees of a photo.
    """

    def work(group: list[PhotoJob]) -> list[PhotoJob]:
        _perturb(group, attack, batch, meter, view)
        return group

    groups = _groups(jobs, batch, heaviest)
    done = map(work, groups) if pool is None else prefetch(groups, work, pool=pool, ahead=AHEAD, stop=stop)
    for group in done:
        yield from group


def _groups(jobs: Iterable[PhotoJob], batch: int, heaviest: int) -> Iterator[list[PhotoJob]]:
    """Group jobs until they have about a batch of crops between them."""
    waiting: list[PhotoJob] = []
    crops = pixels = files = 0
    for job in jobs:
        waiting.append(job)
        if job.next == "perturb":
            crops += len(require(job.crops))
            pixels += job.pixels
        files += job.held
        # The last bound is for long runs of photos without a face, which need no batch.
        if crops >= batch or pixels >= heaviest or len(waiting) >= 2 * batch or files >= _FILES:
            yield waiting
            waiting, crops, pixels, files = [], 0, 0, 0
    yield waiting


def _perturb(group: Sequence[PhotoJob], attack: Attack, batch: int, meter: Meter | None, view: View | None) -> None:
    jobs = [job for job in group if job.next == "perturb"]
    if not jobs:
        return
    start = time.perf_counter()
    if meter is not None:
        meter.begin("perturb")
    try:
        _batches(jobs, attack, batch, view)
    except Exception:  # one of them may be to blame: each on its own
        for job in jobs:
            _alone(job, attack, batch, view)
    if meter is not None:
        meter.end("perturb", time.perf_counter() - start, len(jobs))


def _alone(job: PhotoJob, attack: Attack, batch: int, view: View | None) -> None:
    try:
        _batches([job], attack, batch, view)
    except Exception as error:
        job.settle(Failed(job.entry, "perturb", error))


def _batches(jobs: Sequence[PhotoJob], attack: Attack, batch: int, view: View | None) -> None:
    start = time.perf_counter()
    crops = np.concatenate([require(job.crops) for job in jobs])
    deltas: Float32 = np.concatenate([attack(crops[a:b]) for a, b in _slices(len(crops), batch)])
    if attack.refiner is not None and view is not None:
        deltas = _refined(attack, [face for job in jobs for face in view(job)], deltas, batch)
    seconds = time.perf_counter() - start
    parts = np.split(deltas, np.cumsum([len(require(job.crops)) for job in jobs])[:-1])
    for job, part in zip(jobs, parts, strict=True):
        job.entry.clock.seconds += seconds * len(part) / len(crops)
        job.crops, job.deltas = None, part


def _refined(attack: Attack, faces: Sequence[FaceView], deltas: Float32, batch: int) -> Float32:
    """What the refiner makes of ``deltas`` [B, 3, S, S], within the budget."""
    refine = require(attack.refiner)
    parts = [refine(faces[at : at + batch], deltas[at : at + batch]) for at in range(0, len(faces), batch)]
    return attack.budget.clip(np.concatenate(parts))


def _slices(count: int, batch: int) -> Iterator[tuple[int, int]]:
    """Whole batches, then halves of halves: few sizes, as a backend compiles its network for every size it meets."""
    at = 0
    while at < count:
        while batch > count - at:
            batch = (batch + 1) // 2
        yield at, at + batch
        at += batch
