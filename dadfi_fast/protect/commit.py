"""The last stage: write the manifest row, then move the file to its final name; see `dadfi_fast.protect.manifest`.

On disk this happens per photo. In an object store it happens in groups: first the rows of a group, as one object, then
its files, side by side. Each upload puts the whole file under its final name in one step, so there a temporary name
would only cost two more requests.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, Protocol

from dadfi_fast.errors import DiskError, PhotoError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.manifest import Facts, Row, row_of
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.results import Failed, Outcome
from dadfi_fast.protect.resume import free_target, is_recorded
from dadfi_fast.protect.stages import Staged
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.storage.object_store import OutStore

#: Files uploaded together: at most this many, and this many bytes.
GROUP: Final = 32
GROUP_BYTES: Final = 64 << 20
#: A group is uploaded after this many seconds, even if it is not full.
GROUP_SECONDS: Final = 2.0


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
    items: Iterable[Any], *, journal: Journal, out: OutFolder | OutStore, config: ProtectConfig, meter: Meter
) -> Iterator[Outcome]:
    """Yield the outcome of every input once it is final, in order.

    Args:
        items: files that are staged, and outcomes.
        journal: where the rows go.
        out: where the files go.
        config: of the run.
        meter: is told how long uploads take.

    Raises:
        DiskError: the output folder cannot be written to.
    """
    if isinstance(out, OutStore):
        yield from _uploaded(items, journal, out, config, meter)
        return
    for item in items:
        yield _renamed(item, journal, out, config)


def _renamed(item: Staged | Outcome, journal: Journal, out: OutFolder, config: ProtectConfig) -> Outcome:
    if not isinstance(item, Staged):
        return _noted(item, journal)
    again = journal.find(item.entry.name) is not None
    try:
        outcome = replace(item.outcome, target=free_target(item.outcome.target, config))
    except PhotoError as error:
        out.discard(item.temporary)
        return _noted(Failed(item.entry, "write", error), journal)
    row = row_of(outcome, journal.facts)
    journal.append(row, again=again)
    try:
        out.commit(item.temporary, outcome.target)
    except DiskError:
        journal.undo_last(row)
        raise
    except PhotoError as error:  # a folder has that name, for one
        journal.undo_last(row)
        out.discard(item.temporary)
        return _noted(Failed(item.entry, "write", error), journal)
    return outcome


def _noted(outcome: Outcome, journal: Journal) -> Outcome:
    """Record an outcome without a file, unless it already has its row."""
    if not is_recorded(outcome):
        journal.append(row_of(outcome, journal.facts), again=journal.find(outcome.entry.name) is not None)
    return outcome


def _uploaded(
    items: Iterable[Any], journal: Journal, out: OutStore, config: ProtectConfig, meter: Meter
) -> Iterator[Outcome]:
    """Upload one group while the next one is collected."""
    with ThreadPoolExecutor(1, "dadfi-upload") as background:
        under_way: Future[list[Outcome]] | None = None
        for group in _groups(items):
            named = [_named(item, journal, out, config) for item in group]
            if under_way is not None:
                yield from under_way.result()
            under_way = background.submit(_upload, named, journal, out, meter)
        if under_way is not None:
            yield from under_way.result()


def _groups(items: Iterable[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    size, since = 0, time.monotonic()
    for item in items:
        group.append(item)
        size += len(item.temporary.data) if isinstance(item, Staged) else 0
        if len(group) >= GROUP or size >= GROUP_BYTES or time.monotonic() - since > GROUP_SECONDS:
            yield group
            group, size, since = [], 0, time.monotonic()
    if group:
        yield group


def _named(item: Any, journal: Journal, out: OutStore, config: ProtectConfig) -> tuple[Any, bool]:
    """With its final target, which counts as taken from now on; and whether its row replaces another one.

    In the thread that looks for inputs, as reading the manifest is for one thread.
    """
    again = journal.find(item.entry.name) is not None
    if not isinstance(item, Staged):
        return item, again
    try:
        outcome = replace(item.outcome, target=free_target(item.outcome.target, config))
    except PhotoError as error:
        return Failed(item.entry, "write", error), again
    out.claim(outcome.target)
    return replace(item, outcome=outcome), again


def _upload(group: list[tuple[Any, bool]], journal: Journal, out: OutStore, meter: Meter) -> list[Outcome]:
    start = time.perf_counter()
    outcomes = [item.outcome if isinstance(item, Staged) else item for item, _ in group]
    for outcome, (_, again) in zip(outcomes, group, strict=True):
        if not is_recorded(outcome):
            journal.append(row_of(outcome, journal.facts), again=again)
    journal.flush()
    files = {n: (item.outcome.target, item.temporary) for n, (item, _) in enumerate(group) if isinstance(item, Staged)}
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
