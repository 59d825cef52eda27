"""What is read goes to DALI in batches, ahead of what needs it, and comes back in the order of the inputs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from dadfi_fast.images.decode.base import Decoder
from dadfi_fast.protect.gpu.dali import AHEAD, Dali, Decoded, Picture, takes
from dadfi_fast.protect.job import PhotoJob, require
from dadfi_fast.protect.meter import Meter
from dadfi_fast.types import UInt8

#: Pixels of a batch; a larger photo makes one of its own. With those under way and the one that is handed out, batches
#: hold `AHEAD` + 1 times as many, at three bytes each.
PIXELS: Final = 24_000_000
#: Whether a photo is decoded in a batch.
Take: TypeAlias = Callable[[PhotoJob], bool]


@dataclass
class Group:
    """Jobs in a row, some of whose photos are decoded together."""

    jobs: list[PhotoJob] = field(default_factory=list)
    photos: list[int] = field(default_factory=list)  # indices of those, among the jobs
    pixels: int = 0

    def add(self, job: PhotoJob, *, taken: bool) -> None:
        """One more at the end; ``taken``: it is decoded."""
        if taken:
            self.photos.append(len(self.jobs))
            self.pixels += job.pixels
        self.jobs.append(job)


def is_for_dali(job: PhotoJob) -> bool:
    """Whether this is a file that DALI decodes."""
    return job.next == "decode" and takes(require(job.decoder), job.data)


def groups(jobs: Iterable[PhotoJob], *, batch: int, pixels: int, take: Take = is_for_dali) -> Iterator[Group]:
    """``jobs`` in groups, in order: at most ``batch`` photos that are decoded, of ``pixels`` or a single one, in each.

    Others travel along, four times as many at the most, so that a long row of them is not kept waiting.
    """
    group = Group()
    for job in jobs:
        taken = take(job)
        heavy = group.pixels and taken and group.pixels + job.pixels > pixels
        if heavy or len(group.photos) == batch or len(group.jobs) == 4 * batch:
            yield group
            group = Group()
        group.add(job, taken=taken)
    if group.jobs:
        yield group


def decoded(
    jobs: Iterable[PhotoJob], dali: Dali, *, pixels: int, take: Take = is_for_dali
) -> Iterator[tuple[Group, dict[int, Picture], float]]:
    """Groups in order, decoded while the caller works on those before them; ``take`` says which photos are.

    Returns:
        the group; its decoded pictures by index, without those that ``dali`` cannot decode; and the seconds that they
        were waited for.
    """

    def finished(group: Group) -> tuple[Group, dict[int, Picture], float]:
        start = time.perf_counter()
        pairs = zip(group.photos, dali.finish() if group.photos else [], strict=True)
        pictures = {
            index: picture
            for index, picture in pairs
            if picture is not None and _header_matches(picture, require(group.jobs[index].decoder))
        }
        return group, pictures, time.perf_counter() - start

    waiting: deque[Group] = deque()
    for group in groups(jobs, batch=dali.batch, pixels=pixels, take=take):
        if len(waiting) == AHEAD:
            yield finished(waiting.popleft())
        if group.photos:
            dali.begin([group.jobs[index].data for index in group.photos])
        waiting.append(group)
    while waiting:
        yield finished(waiting.popleft())


class DaliStage:
    """Call it with an iterator of jobs: photos that DALI decodes come out with a decoder that has their pixels.

    All others flow on as they are, and so does a photo that DALI cannot decode: the CPU's decoder, which comes
    next, tries it and says what is wrong with it.

    Args:
        dali: decodes ahead.
        meter: is told how long a batch was waited for.
    """

    def __init__(self, dali: Dali, meter: Meter) -> None:
        self._dali, self._meter = dali, meter

    def __call__(self, jobs: Iterable[PhotoJob]) -> Iterator[PhotoJob]:
        for group, pictures, seconds in decoded(jobs, self._dali, pixels=PIXELS):
            if pictures:
                self._meter.add("decode", seconds, 0)  # the stage that turns them upright counts the photos
            for index, job in enumerate(group.jobs):
                if index in pictures:
                    job.entry.clock.seconds += seconds / len(group.photos)
                    job.decoder = Decoded(require(job.decoder), _in_memory(pictures.pop(index)))
                yield job


def _header_matches(picture: Picture, decoder: Decoder) -> bool:
    """Whether it is as large as its header says: two readers of a damaged one may not see the same."""
    shape = picture.shape if isinstance(picture, np.ndarray) else picture.shape()
    return tuple(shape) == (decoder.height, decoder.width, 3)


def _in_memory(picture: Picture) -> UInt8:
    """A picture that may lie on a GPU, copied from there."""
    return picture if isinstance(picture, np.ndarray) else np.array(picture.as_cpu(), np.uint8)
