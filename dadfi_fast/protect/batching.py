"""Batch the face crops of several photos for the generator; each photo comes back with its own, in order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Final, TypeVar

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.prefetch import prefetch
from dadfi_fast.protect.results import Failed
from dadfi_fast.protect.stages import Marked, Seen
from dadfi_fast.types import Float32

T = TypeVar("T")

#: Batches under way where a pool works on them: one is copied to or from a GPU while the other is worked on there, each
#: in memory and on a stream of its own (`backends.lane.Lane`).
AHEAD: Final = 2


def perturb(
    items: Iterable[T | Seen],
    attack: Attack,
    *,
    batch: int,
    heaviest: int,
    pool: Executor | None = None,
    meter: Meter | None = None,
) -> Iterator[T | Marked | Failed]:
    """Every photo in ``items`` with the perturbations of its faces; what is no photo flows on, in its place.

    Args:
        items: photos with their crops, and outcomes; pulled in the caller's thread.
        attack: what perturbs.
        batch: crops to a call.
        heaviest: pixels of photos that may wait for a batch to fill.
        pool: calls ``attack``, `AHEAD` batches at a time; None: the caller's thread does, one after the other.
        meter: is told what it takes.
    """

    def work(group: Sequence[T | Seen]) -> list[T | Marked | Failed]:
        return list(_marked(group, attack, batch, meter))

    groups = _groups(items, batch, heaviest)
    done = map(work, groups) if pool is None else prefetch(groups, work, pool=pool, ahead=AHEAD)
    for group in done:
        yield from group


def _groups(items: Iterable[T | Seen], batch: int, heaviest: int) -> Iterator[list[T | Seen]]:
    """Group items until they have about a batch of crops between them."""
    waiting: list[T | Seen] = []
    crops = pixels = 0
    for item in items:
        waiting.append(item)
        if isinstance(item, Seen):
            crops += len(item.crops)
            pixels += item.pixels
        # The last bound is for long runs of photos without a face, which need no batch.
        if crops >= batch or pixels >= heaviest or len(waiting) >= 2 * batch:
            yield waiting
            waiting, crops, pixels = [], 0, 0
    yield waiting


def _marked(
    items: Sequence[T | Seen], attack: Attack, batch: int, meter: Meter | None
) -> Iterator[T | Marked | Failed]:
    photos = [item for item in items if isinstance(item, Seen)]
    if not photos:
        yield from items  # type: ignore[misc]
        return
    start = time.perf_counter()
    if meter is not None:
        meter.begin("perturb")
    made = iter(_together(photos, attack, batch))
    if meter is not None:
        meter.end("perturb", time.perf_counter() - start, len(photos))
    for item in items:
        yield next(made) if isinstance(item, Seen) else item


def _together(photos: Sequence[Seen], attack: Attack, batch: int) -> Iterable[Marked | Failed]:
    try:
        return _batches(photos, attack, batch)
    except Exception:  # one of them may be to blame: each on its own
        return [_alone(photo, attack, batch) for photo in photos]


def _alone(photo: Seen, attack: Attack, batch: int) -> Marked | Failed:
    try:
        return _batches([photo], attack, batch)[0]
    except Exception as error:
        return Failed(photo.entry, "perturb", error)


def _batches(photos: Sequence[Seen], attack: Attack, batch: int) -> list[Marked]:
    start = time.perf_counter()
    crops = np.concatenate([photo.crops for photo in photos])
    deltas: Float32 = np.concatenate([attack(crops[a:b]) for a, b in _slices(len(crops), batch)])
    seconds = time.perf_counter() - start
    parts = np.split(deltas, np.cumsum([len(photo.crops) for photo in photos])[:-1])
    for photo in photos:
        photo.entry.clock.seconds += seconds * len(photo.crops) / len(crops)
    return [Marked(photo, part) for photo, part in zip(photos, parts, strict=True)]


def _slices(count: int, batch: int) -> Iterator[tuple[int, int]]:
    """Whole batches, then halves of halves: few sizes, as a backend compiles its network for every size it meets."""
    at = 0
    while at < count:
        while batch > count - at:
            batch = (batch + 1) // 2
        yield at, at + batch
        at += batch
