"""Which photos are worked on right now, in a file that outlives the process: a run that dies leaves their names.

Each thread that works on a photo has a slot in `NAME` and writes the photo's name there, without a flush: what a
process has written is kept by the system when it is killed, and only a power cut takes it. The next run finds the names
and counts the deaths in `DEATHS`. It works on each of these photos alone, so that the one at fault is told from those
beside it, and after `MOST` deaths it fails the photo without opening it.

A run that the user has interrupted has not died, even if a watchdog had to end it (`removed_at_deadline`).

This is for runs by one process, into a folder on a disk: of several workers, the scheduler sees the death itself.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dadfi_fast.errors import DeadlyPhoto
from dadfi_fast.files import atomic_write
from dadfi_fast.protect.interrupt import removed_at_deadline
from dadfi_fast.protect.job import PhotoJob
from dadfi_fast.protect.results import Entry, Failed, Input, Outcome
from dadfi_fast.storage.disk import open_regular
from dadfi_fast.storage.paths import AnyPath

#: The files, in the output folder; the second one is there only while it has something to say.
NAME: Final = ".dadfi-under-way"
DEATHS: Final = ".dadfi-deaths.json"
#: A photo at which so many runs have died fails.
MOST: Final = 3
#: Bytes of a slot; a photo whose name takes more is not noted.
_SLOT: Final = 16 << 10
#: More than this is none of our files.
_LARGEST: Final = 64 << 20


@dataclass(frozen=True)
class Deaths:
    """Of runs, at one photo."""

    n: int
    stage: str  # of the last one
    stat: tuple[int, int]  # size and mtime of the file at that time

    def of(self, entry: Entry) -> bool:
        """Whether the file is still the one at which they died."""
        return self.stat == (entry.size, entry.mtime_ns)


class UnderWay:
    """The notes of one run, whose manifest is locked; without effect where they cannot be kept.

    Args:
        out: the output folder; None: nothing is noted.
        again: photos at which runs have died are tried once more, however many did.
        read_only: only look; nothing is noted.
    """

    def __init__(self, out: AnyPath | None, *, again: bool = False, read_only: bool = False) -> None:
        self._out, self._again = out if isinstance(out, Path) else None, again
        self._deaths: dict[str, Deaths] = {}
        self._descriptor: int | None = None
        self._numbers, self._free = itertools.count(), list[int]()
        self._lock = threading.Lock()
        #: Photos that were under way when the last run died.
        self.died_at: tuple[str, ...] = ()
        if self._out is not None:
            self._open(self._out, read_only=read_only)

    def _open(self, out: Path, *, read_only: bool) -> None:
        self._deaths, died = _read_deaths(out / DEATHS), noted(out / NAME)
        for name, stage, stat in died:
            before = self._deaths.get(name)
            n = before.n if before is not None and before.stat == stat else 0
            self._deaths[name] = Deaths(n + 1, stage, stat)
        self.died_at = tuple(sorted({name for name, _, _ in died}))
        if read_only:
            return
        with suppress(OSError):
            if died:
                self._save()
            (out / NAME).unlink(missing_ok=True)  # a link, too: what it leads to is not ours
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(out / NAME, flags, 0o666)
            removed_at_deadline(out / NAME)

    @property
    def note(self) -> str | None:
        """What the user should know of the last run; None where it did not die at a photo."""
        if not self.died_at:
            return None
        named = [f"{name} (run {self._deaths[name].n} of {MOST})" for name in self.died_at]
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        return (
            f"the last run was killed, or ran out of memory, while it worked on {', '.join(named[:8])}{more}."
            f" Each is now worked on alone, and fails after {MOST} such runs"
        )

    def judge(self, items: Iterable[Input]) -> Iterator[Input]:
        """``items``, with a failure in the place of each photo at which runs have died too often."""
        for item in items:
            deaths = self._deaths.get(item.name) if isinstance(item, Entry) else None
            if isinstance(item, Entry) and deaths is not None:
                if not deaths.of(item):
                    del self._deaths[item.name]
                elif deaths.n >= MOST and not self._again:
                    reason = (
                        f"{deaths.n} runs were killed, or ran out of memory, while they worked on this photo; it is not"
                        " tried again until the file changes. Pass --again to try it"
                    )
                    yield Failed(item, deaths.stage, DeadlyPhoto(reason))
                    continue
            yield item

    def is_suspect(self, item: Input) -> bool:
        """Whether a run has died at this photo, which is to be worked on alone."""
        return isinstance(item, Entry) and item.name in self._deaths

    def apart(self, items: Iterable[Input]) -> Iterator[Iterator[Input]]:
        """``items`` in their order, in groups that are to be worked on one after the other: each suspect is alone."""
        if not self._deaths:
            yield iter(items)
            return
        number = 0

        def group(item: Input) -> tuple[int, bool]:
            nonlocal number
            suspect = self.is_suspect(item)
            number += suspect
            return number, suspect

        for _, together in itertools.groupby(items, group):
            yield together

    def during(self, stage: str, work: Callable[[PhotoJob], None]) -> Callable[[PhotoJob], None]:
        """``work``, with a note of its photo for as long as it takes."""
        if self._descriptor is None:
            return work

        def noted(job: PhotoJob) -> None:
            slot = self._slot()
            try:
                self._write(slot, _note(job.entry, stage))
                work(job)
            finally:
                self._write(slot, b"\n")
                self._free.append(slot)

        return noted

    def went_through(self, outcome: Outcome) -> None:
        """What became of a photo is known: it has not ended this run."""
        deaths = self._deaths.get(outcome.entry.name)
        if deaths is not None and not (isinstance(outcome, Failed) and isinstance(outcome.error, DeadlyPhoto)):
            del self._deaths[outcome.entry.name]

    def close(self) -> None:
        """This run has not died."""
        if self._descriptor is None or self._out is None:
            return
        with self._lock:  # a thread that was left may come back to its slot
            os.close(self._descriptor)
            self._descriptor = None
        with suppress(OSError):
            self._save()
            (self._out / NAME).unlink(missing_ok=True)
        removed_at_deadline(None)  # from now on it may be that of another run

    def _slot(self) -> int:
        try:
            return self._free.pop()
        except IndexError:
            return next(self._numbers)

    def _write(self, slot: int, note: bytes) -> None:
        if len(note) <= _SLOT:
            with self._lock, suppress(OSError):  # a full disk is met by the photo's own file
                if self._descriptor is not None:
                    _write_at(self._descriptor, slot * _SLOT, note)

    def _save(self) -> None:
        assert self._out is not None, "there is no folder"
        path = self._out / DEATHS
        if not self._deaths:
            path.unlink(missing_ok=True)
            return
        deaths = {name: {"n": each.n, "stage": each.stage, "stat": each.stat} for name, each in self._deaths.items()}
        atomic_write(path, json.dumps(deaths).encode())


def _write_at(descriptor: int, at: int, data: bytes) -> None:
    if hasattr(os, "pwrite"):
        os.pwrite(descriptor, data, at)
    else:  # on Windows
        os.lseek(descriptor, at, os.SEEK_SET)
        os.write(descriptor, data)


def _note(entry: Entry, stage: str) -> bytes:
    # A third of the time that the whole list takes.
    return f'[{json.dumps(entry.name)}, "{stage}", {entry.size}, {entry.mtime_ns}]\n'.encode()


def _read(path: Path) -> bytes:
    """The content of a file of ours; nothing where there is none."""
    with suppress(OSError), os.fdopen(open_regular(path), "rb") as file:
        return file.read(_LARGEST)
    return b""


def noted(path: Path) -> list[tuple[str, str, tuple[int, int]]]:
    """The photos in a file of notes, which need not be there: name, stage, and size and mtime of each."""
    data = _read(path)
    photos = []
    for start in range(0, len(data), _SLOT):
        with suppress(ValueError, TypeError, RecursionError):
            name, stage, size, mtime = json.loads(data[start : start + _SLOT].partition(b"\n")[0])
            photos.append((_text(name), _text(stage), (_whole(size), _whole(mtime))))
    return photos


def _read_deaths(path: Path) -> dict[str, Deaths]:
    with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        deaths = json.loads(_read(path) or b"{}")
        return {name: _deaths(each) for name, each in deaths.items()}
    return {}


def _deaths(value: object) -> Deaths:
    if not isinstance(value, dict):
        raise TypeError
    size, mtime = value["stat"]
    return Deaths(_whole(value["n"]), _text(value["stage"]), (_whole(size), _whole(mtime)))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value
