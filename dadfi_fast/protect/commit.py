"""The last stage: write the manifest row, then move the file to its final name; see `dadfi_fast.protect.manifest`.

In groups: first the rows of a group, flushed to the disk or uploaded as one object, then its files. A flush for every
photo would double the time spent waiting. In an object store each upload puts the whole file under its final name in
one step, so there a temporary name would only cost two more requests.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from dadfi_fast.errors import DiskError, PhotoError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.job import PhotoJob
from dadfi_fast.protect.manifest import Facts, Row, row_of
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.results import Copied, Failed, Outcome, Written
from dadfi_fast.protect.resume import free_target, is_recorded
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.storage.object_store import OutStore

#: A group has at most this many files, and where it is uploaded, this many bytes.
GROUP: Final = 32
GROUP_BYTES: Final = 64 << 20
#: A group is uploaded after this many seconds, even if it is not full.
GROUP_SECONDS: Final = 2.0
#: The same on a disk, where a group costs one flush of the manifest.
GROUP_SECONDS_ON_DISK: Final = 0.25


class Journal(Protocol):
    """Where rows go: a manifest, or one shard of it."""

    facts: Facts

    def find(self, source: str) -> Row | None:
        """The last row of an earlier run about ``source``."""

    def append(self, row: Row, *, again: bool = False) -> None:
        """Add a row; ``again``: it replaces one about the same source."""

    def undo_last(self, row: Row) -> None:
        """Remove the row that was appended last."""

    def flush(self) -> None:
        """Make the rows so far durable; in an object store, upload them."""

    def rollback(self) -> None:
        """Files of the last rows may be missing; the next run finds out which."""


def committed(
    jobs: Iterable[PhotoJob], *, journal: Journal, out: OutFolder | OutStore, config: ProtectConfig, meter: Meter
) -> Iterator[Outcome]:
    """Yield the outcome of every input once it is final, in order.

    Args:
        jobs: all with an outcome; the file of each that has one is staged.
        journal: where the rows go.
        out: where the files go.
        config: of the run.
        meter: is told how long uploads take.

    Raises:
        DiskError: the output folder cannot be written to.
    """
    if isinstance(out, OutStore):
        yield from _uploaded(jobs, journal, out, config, meter)
        return
    yield from _renamed(jobs, journal, out, config)


def _renamed(jobs: Iterable[PhotoJob], journal: Journal, out: OutFolder, config: ProtectConfig) -> Iterator[Outcome]:
    group = _Group(journal, out, config)
    try:
        for job in jobs:
            if group.has_target_of(job):
                yield from group.finish()
            group.add(job)
            if group.is_due():
                yield from group.finish()
        yield from group.finish()
    except DiskError:  # met by a later photo: these ones are staged and have their rows
        yield from group.finish()
        raise
    except BaseException:
        group.undo()
        raise


class _Group:
    """Photos whose rows are in the manifest, and are flushed to the disk before the first of the files is renamed."""

    def __init__(self, journal: Journal, out: OutFolder, config: ProtectConfig) -> None:
        self._journal, self._out, self._config = journal, out, config
        self._items: list[tuple[Path | None, Outcome, Row | None]] = []
        self._since = time.monotonic()

    def add(self, job: PhotoJob) -> None:
        """Append the row of one input."""
        file, outcome = job.staged if isinstance(job.staged, Path) else None, _named(job, self._config)
        if file is not None and isinstance(outcome, Failed):
            self._out.discard(file)
            file = None
        row = None
        if not is_recorded(outcome):
            row = row_of(outcome, self._journal.facts)
            self._journal.append(row, again=self._journal.find(outcome.entry.name) is not None)
        self._items.append((file, outcome, row))

    def has_target_of(self, job: PhotoJob) -> bool:
        """Whether a file of the group is to have its name: that one comes first, so that the next free one is found.

        In any case, since the file system may take no notice of it.
        """
        named = _named(job, self._config)
        if not isinstance(named, Written | Copied):
            return False
        target = named.target.casefold()
        return any(file and _target(outcome).casefold() == target for file, outcome, _ in self._items)

    def is_due(self) -> bool:
        """Whether it is large or old enough."""
        return len(self._items) >= GROUP or time.monotonic() - self._since > GROUP_SECONDS_ON_DISK

    def finish(self) -> Iterator[Outcome]:
        """Flush the rows and rename the files; what became of each, once it is so."""
        if any(row for _, _, row in self._items):
            self._journal.flush()
        refused: list[Failed] = []
        try:
            while self._items:
                file, outcome, _ = self._items[0]
                if file is not None:
                    outcome = self._commit(file, outcome)
                del self._items[0]
                if isinstance(outcome, Failed) and file is not None:
                    refused.append(outcome)
                yield outcome
        except BaseException:
            self.undo()
            raise
        finally:
            self._replace(refused)
        self._since = time.monotonic()

    def _commit(self, file: Path, outcome: Outcome) -> Outcome:
        assert isinstance(outcome, Written | Copied)
        try:
            self._out.commit(file, outcome.target)
        except PhotoError as error:  # a folder has that name, for one
            self._out.discard(file)
            return Failed(outcome.entry, "write", error)
        return outcome

    def _replace(self, refused: Iterable[Failed]) -> None:
        for failed in refused:
            self._journal.append(row_of(failed, self._journal.facts), again=True)

    def undo(self) -> None:
        """Take the rows back, whose files will not be renamed."""
        for _, _, row in reversed(self._items):
            if row is not None:
                self._journal.undo_last(row)
        self._items = []


def _target(outcome: Outcome) -> str:
    return outcome.target if isinstance(outcome, Written | Copied) else ""


def _named(job: PhotoJob, config: ProtectConfig) -> Outcome:
    """The outcome with the name that its file gets; a failure where the file system takes no such name."""
    outcome = _outcome(job)
    if not isinstance(outcome, Written | Copied):
        return outcome
    try:
        return replace(outcome, target=free_target(outcome.target, config))
    except PhotoError as error:
        return Failed(job.entry, "write", error)


def _outcome(job: PhotoJob) -> Outcome:
    assert job.outcome is not None, "the job is not over"
    return job.outcome


def _uploaded(
    jobs: Iterable[PhotoJob], journal: Journal, out: OutStore, config: ProtectConfig, meter: Meter
) -> Iterator[Outcome]:
    """Upload one group while the next one is collected."""
    with ThreadPoolExecutor(1, "dadfi-upload") as background:
        under_way: Future[list[Outcome]] | None = None
        for group in _groups(jobs):
            known = [_claimed(job, journal, out, config) for job in group]
            if under_way is not None:
                yield from under_way.result()
            under_way = background.submit(_upload, group, known, journal, out, meter)
        if under_way is not None:
            yield from under_way.result()


def _groups(jobs: Iterable[PhotoJob]) -> Iterator[list[PhotoJob]]:
    group: list[PhotoJob] = []
    size, since = 0, time.monotonic()
    for job in jobs:
        group.append(job)
        size += len(job.staged) if isinstance(job.staged, bytes) else 0
        if len(group) >= GROUP or size >= GROUP_BYTES or time.monotonic() - since > GROUP_SECONDS:
            yield group
            group, size, since = [], 0, time.monotonic()
    if group:
        yield group


def _claimed(job: PhotoJob, journal: Journal, out: OutStore, config: ProtectConfig) -> bool:
    """Settle the target of a job, which counts as taken from now on; whether its row replaces another one.

    In the thread that looks for inputs, as reading the manifest is for one thread.
    """
    again = journal.find(job.entry.name) is not None
    outcome = _named(job, config)
    if isinstance(outcome, Failed):
        job.settle(outcome)
    elif isinstance(outcome, Written | Copied):
        job.outcome = outcome
        out.claim(outcome.target)
    return again


def _upload(
    group: Sequence[PhotoJob], known: Sequence[bool], journal: Journal, out: OutStore, meter: Meter
) -> list[Outcome]:
    """Rows first, then the files; ``known`` says which rows replace others."""
    start = time.perf_counter()
    outcomes = [_outcome(job) for job in group]
    for outcome, again in zip(outcomes, known, strict=True):
        if not is_recorded(outcome):
            journal.append(row_of(outcome, journal.facts), again=again)
    journal.flush()
    files = {
        n: (outcome.target, job.staged)
        for n, (job, outcome) in enumerate(zip(group, outcomes, strict=True))
        if isinstance(outcome, Written | Copied) and isinstance(job.staged, bytes)
    }
    try:
        refused = out.upload(files)
    except BaseException:
        journal.rollback()
        raise
    for n, error in refused.items():
        outcomes[n] = Failed(outcomes[n].entry, "write", error)
        journal.append(row_of(outcomes[n], journal.facts), again=True)
    meter.busy("write", time.perf_counter() - start)
    return outcomes
