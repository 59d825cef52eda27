"""Inputs, cut into chunks for several workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from dadfi_fast.images.naming import candidates
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.results import Entry, Input
from dadfi_fast.protect.resume import free_target, is_recorded

#: A chunk is to take a worker so many seconds: long beside handing it over, short beside a run.
SECONDS: Final = 2.0
#: The fewest and the most inputs of a chunk that need work.
SIZES: Final = (16, 1024)


class Chunker:
    """Cuts chunks that take a worker about `SECONDS`.

    With ``--on-exists rename`` targets are settled here, as workers do not see what others are about to write. An input
    that fails afterwards keeps its target from others of this run, which one process would not do.

    Args:
        left: the inputs, as `dadfi_fast.protect.resume.remaining` gives them.
        config: of the run.
    """

    def __init__(self, left: Iterator[Input], config: ProtectConfig) -> None:
        self._left, self._config = left, config
        self._size = SIZES[0]
        self._taken: dict[int, set[str]] = {}  # targets of each chunk that is not forgotten
        self.over = False  # nothing is left

    def cut(self, number: int) -> list[Input]:
        """The inputs of chunk ``number``, and what became of those that need no work; empty where nothing is left."""
        items: list[Input] = []
        work = 0
        for item in self._left:
            items.append(self._with_free_target(item, number))
            work += not is_recorded(item)
            if work >= self._size or len(items) >= SIZES[1]:
                return items
        self.over = True
        return items

    def pace(self, rate: float) -> None:
        """From now on chunks are for a worker that gets through ``rate`` inputs a second."""
        self._size = min(max(round(rate * SECONDS), SIZES[0]), SIZES[1])

    def forget(self, number: int) -> None:
        """Chunk ``number`` is done: its targets are there for all to see."""
        self._taken.pop(number, None)

    def _with_free_target(self, item: Input, number: int) -> Input:
        if self._config.on_exists != "rename" or not isinstance(item, Entry):
            return item
        folder, _, name = item.target.rpartition("/")
        for candidate in candidates(name):
            target = f"{folder}/{candidate}" if folder else candidate
            if (
                not any(target in names for names in self._taken.values())
                and free_target(target, self._config) == target
            ):
                break
        self._taken.setdefault(number, set()).add(target)
        return replace(item, target=target)
