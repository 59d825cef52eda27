"""What is read goes to DALI in batches, ahead of what needs it, and comes back in the order of the inputs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import numpy as np

from dadfi_fast.images.decode.base import Decoder
from dadfi_fast.protect.gpu.dali import AHEAD, Dali, Decoded, takes
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.stages import Loaded
from dadfi_fast.types import UInt8

#: Pixels of a batch; a larger photo makes one of its own. With those under way and the one that is handed out, batches
#: hold `AHEAD` + 1 times as many, at three bytes each.
PIXELS: Final = 24_000_000
#: Whether an item is decoded in a batch.
Take: TypeAlias = Callable[[Any], bool]


@dataclass
class Group:
    """Items in a row, some of which are decoded together."""

    items: list[Any] = field(default_factory=list)
    photos: list[int] = field(default_factory=list)  # places of those, among the items
    pixels: int = 0

    def add(self, item: Any, *, taken: bool) -> None:
        """One more at the end; ``taken``: it is decoded."""
        if taken:
            self.photos.append(len(self.items))
            self.pixels += item.pixels
        self.items.append(item)


def is_for_dali(item: Any) -> bool:
    """Whether this is a file that DALI decodes."""
    return isinstance(item, Loaded) and takes(item.decoder, item.data)


def groups(items: Iterable[Any], *, batch: int, pixels: int, take: Take = is_for_dali) -> Iterator[Group]:
    """``items`` in groups, in order: at most ``batch`` photos that are decoded, of ``pixels`` or a single one, in each.

    Others travel along, four times as many at the most, so that a long row of them is not kept waiting.
    """
    group = Group()
    for item in items:
        taken = take(item)
        heavy = group.pixels and taken and group.pixels + item.pixels > pixels
        if heavy or len(group.photos) == batch or len(group.items) == 4 * batch:
            yield group
            group = Group()
        group.add(item, taken=taken)
    if group.items:
        yield group


def decoded(
    items: Iterable[Any], dali: Dali, *, pixels: int, take: Take = is_for_dali
) -> Iterator[tuple[Group, dict[int, Any], float]]:
    """Groups in order, decoded while the caller works on those before them; ``take`` says which items are.

    Returns:
        the group; its decoded pictures by their places, without those that ``dali`` cannot decode; and the seconds that
        they were waited for.
    """

    def finished(group: Group) -> tuple[Group, dict[int, Any], float]:
        start = time.perf_counter()
        made = zip(group.photos, dali.finish() if group.photos else [], strict=True)
        there = {place: picture for place, picture in made if _header_matches(picture, group.items[place].decoder)}
        return group, there, time.perf_counter() - start

    waiting: deque[Group] = deque()
    for group in groups(items, batch=dali.batch, pixels=pixels, take=take):
        if len(waiting) == AHEAD:
            yield finished(waiting.popleft())
        if group.photos:
            dali.begin([group.items[place].data for place in group.photos])
        waiting.append(group)
    while waiting:
        yield finished(waiting.popleft())


class DaliStage:
    """Call it with an iterator of items: photos that DALI decodes come out with their pixels.

    All others flow on as they are, and so does a photo that DALI cannot decode: the CPU's decoder, which comes
    next, tries it and says what is wrong with it.

    Args:
        dali: decodes ahead.
        meter: is told how long a batch was waited for.
    """

    def __init__(self, dali: Dali, meter: Meter) -> None:
        self._dali, self._meter = dali, meter

    def __call__(self, items: Iterable[Any]) -> Iterator[Any]:
        for group, there, seconds in decoded(items, self._dali, pixels=PIXELS):
            if there:
                self._meter.add("decode", seconds, 0)  # the stage that turns them upright counts the photos
            for place, item in enumerate(group.items):
                if place in there:
                    item.entry.clock.seconds += seconds / len(group.photos)
                    item = replace(item, decoder=Decoded(item.decoder, _in_memory(there.pop(place))))
                yield item


def _header_matches(picture: Any, decoder: Decoder) -> bool:
    """Whether it is there, and as large as its header says: two readers of a damaged one may not see the same."""
    if picture is None:
        return False
    shape = picture.shape() if callable(picture.shape) else picture.shape  # DALI's tensor, or an array
    return tuple(shape) == (decoder.height, decoder.width, 3)


def _in_memory(pixels: Any) -> UInt8:
    """A picture that may lie on a GPU, copied from there."""
    made: UInt8 = np.array(pixels.as_cpu()) if hasattr(pixels, "as_cpu") else pixels
    return made
