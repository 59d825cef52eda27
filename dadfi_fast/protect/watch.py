"""Folders that are watched: what is new or changed is protected once it has come to rest.

By looking at names, sizes and times every few seconds, which works on every file system, network shares included.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Final, TypeAlias

from dadfi_fast.errors import NothingToDo
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.discover import discover
from dadfi_fast.protect.results import Entry, Failed

#: How programs call files that they are still writing.
UNFINISHED: Final = (".part", ".partial", ".crdownload", ".download", ".tmp", ".temp", ".filepart", "~")
#: Size and time of a file; zeros for a folder that cannot be read.
_Stamp: TypeAlias = tuple[int, int]


class Watcher:
    """Says which inputs to work on: those that were the same at two looks in a row, and not when last worked on.

    Args:
        config: what to look at.
        rest: at the first look, files that were changed more than so many seconds ago are taken to be at rest.
    """

    def __init__(self, config: ProtectConfig, *, rest: float) -> None:
        self._config, self._rest = config, rest
        self._before: dict[str, _Stamp] | None = None
        self._done: dict[str, _Stamp] = {}
        self._ready: dict[str, _Stamp] = {}

    def look(self) -> int:
        """Look at everything; says how many inputs are ready.

        Raises:
            UsageError: a source does not exist, or writing could touch an input.
        """
        now = self._listed()
        before = self._before
        if before is None:
            still = time.time_ns() - int(self._rest * 1e9)
            before = {name: stamp for name, stamp in now.items() if stamp[1] < still}
        self._done = {name: stamp for name, stamp in self._done.items() if name in now}
        self._ready = {
            name: stamp
            for name, stamp in now.items()
            if before.get(name) == stamp != self._done.get(name) and not name.lower().endswith(UNFINISHED)
        }
        self._before = now
        return len(self._ready)

    def is_ready(self, item: Entry | Failed) -> bool:
        """Whether the last look found this input ready, and it is still the same."""
        entry = _entry(item)
        return self._ready.get(entry.name) == (entry.size, entry.mtime_ns)

    def settle(self) -> None:
        """What was ready has been worked on, whatever became of it."""
        self._done |= self._ready

    def _listed(self) -> dict[str, _Stamp]:
        config = self._config
        try:
            entries = [_entry(item) for item in discover(config.sources, config.out, form=config.format)]
        except NothingToDo:  # a glob that matches nothing yet
            return {}
        return {entry.name: (entry.size, entry.mtime_ns) for entry in entries}


def rounds(config: ProtectConfig, *, interval: float, stop: threading.Event) -> Iterator[tuple[Watcher, int]]:
    """The watcher and how many inputs are ready, whenever there are any, until ``stop`` is set.

    Args:
        config: what to look at.
        interval: seconds between two looks.
        stop: ends it, and wakes it up.

    Raises:
        UsageError: as `Watcher.look` does.
    """
    watcher = Watcher(config, rest=interval)
    while not stop.is_set():
        if count := watcher.look():
            yield watcher, count
            watcher.settle()
        stop.wait(interval)


def _entry(item: Entry | Failed) -> Entry:
    return item if isinstance(item, Entry) else item.entry
