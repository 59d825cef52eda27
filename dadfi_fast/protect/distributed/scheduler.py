"""A run by several workers: inputs are cut into tasks, and what became of them comes out in the order of the inputs.

A worker writes the rows of its task into a shard of the manifest, each before its file, and reports them at the end;
then they go into the manifest and the shard goes. The shard of a worker that is gone is read: what it had written stays
and what is left of the task is given to another. So nothing is lost, and nothing that is written is done twice.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from dadfi_fast.errors import DadfiError, PhotoError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.chunker import Chunker
from dadfi_fast.protect.distributed.manifest_shards import drop_shard, read_shard
from dadfi_fast.protect.distributed.pool import Event, TaskFinished, WorkerLost, WorkerPool, WorkerReady, WorkerRefused
from dadfi_fast.protect.distributed.worker import Task, TaskResult
from dadfi_fast.protect.manifest import Manifest, Row, outcome_of, row_of
from dadfi_fast.protect.manifest_store import StoreManifest, new_run
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.results import Entry, Failed, Input, Outcome
from dadfi_fast.protect.resume import is_recorded

#: Tasks for each worker that may be under way or wait for an earlier one.
AHEAD: Final = 4
#: Workers may be gone so often on the same photo before it counts as failed.
MAX_RETRIES: Final = 3
#: Seconds without any worker before the run ends.
START_TIMEOUT: Final = 120.0


@dataclass
class _Chunk:
    """A task as it was cut, until all of it is done."""

    items: Sequence[Input]
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by index among the items
    rows: dict[int, Row] = field(default_factory=dict)  # the same; none for what has its row in the manifest
    shards: list[str] = field(default_factory=list)  # that hold these rows
    open: int = 0  # subtasks of it that are handed out or wait to be


@dataclass(frozen=True)
class _Subtask:
    """A task that is handed out: a whole chunk, or what a worker that is gone left of one."""

    chunk: int
    indices: tuple[int, ...]
    task: Task
    retries: int = 0  # workers that went with it
    given: float = 0.0  # when


class Scheduler:
    """Hands out tasks, and takes in what became of them.

    Args:
        left: the inputs, as `dadfi_fast.protect.resume.remaining` gives them.
        pool: who works.
        manifest: where all rows end up.
        config: of the run.
        meter: is told what the stages took.
        stopped: whether no more is to be begun.
        say: is told what the user should know.
    """

    def __init__(
        self,
        left: Iterator[Input],
        pool: WorkerPool,
        manifest: Manifest,
        config: ProtectConfig,
        *,
        meter: Meter,
        stopped: Callable[[], bool],
        say: Callable[[str], object],
    ) -> None:
        self._chunker, self._pool, self._manifest, self._config = Chunker(left, config), pool, manifest, config
        self._meter, self._stopped, self._say = meter, stopped, say
        self._run = manifest.run if isinstance(manifest, StoreManifest) else new_run()
        self._chunks: dict[int, _Chunk] = {}
        self._next = self._cut = self._serial = 0  # chunk that comes out next, that is cut next; subtask
        self._waiting: deque[_Subtask] = deque()
        self._running: dict[int, _Subtask] = {}  # by worker
        self._stop_sent, self._stop_since = False, 0.0
        self._last_sign_of_life, self._failed_starts = time.monotonic(), 0
        self._known: set[str] = set()  # what workers run
        self.lost = 0  # workers that went while they had a task

    def outcomes(self) -> Iterator[Outcome]:
        """What became of every input, in the order of the inputs.

        Raises:
            DadfiError: a fault of the run, or of every worker; what is written is kept.
        """
        while True:
            self._hand_out()
            before = self._next
            yield from self._completed()
            if not self._running and not self._chunks and (self._chunker.over or self._stopped()):
                return
            # What needs no work goes by without waiting for anybody.
            for event in self._pool.events(0.2 if self._next == before else 0.0):
                self._handle(event)
            self._check_timeout()

    def _hand_out(self) -> None:
        if self._stopped():
            self._wind_up()
            return
        while self._pool.idle and (subtask := self._next_subtask()) is not None:
            worker = min(self._pool.idle)
            self._pool.idle.discard(worker)
            self._running[worker] = replace(subtask, given=time.monotonic())
            self._pool.give(worker, subtask.task)

    def _wind_up(self) -> None:
        if not self._stop_sent:
            self._stop_sent, self._stop_since = True, time.monotonic()
            self._pool.stop()
        if self._running and time.monotonic() - self._stop_since > self._pool.grace:
            raise KeyboardInterrupt
        for subtask in self._waiting:
            self._chunks[subtask.chunk].open -= 1
        self._waiting.clear()

    def _next_subtask(self) -> _Subtask | None:
        while not self._waiting and not self._chunker.over and self._cut < self._next + AHEAD * self._pool.size:
            self._cut_one()
        return self._waiting.popleft() if self._waiting else None

    def _cut_one(self) -> None:
        items = self._chunker.cut(self._cut)
        if not items:
            return
        number, self._cut = self._cut, self._cut + 1
        chunk = self._chunks[number] = _Chunk(items)
        indices = tuple(index for index, item in enumerate(items) if not is_recorded(item))
        chunk.outcomes.update((index, item) for index, item in enumerate(items) if is_recorded(item))
        if indices:
            self._queue(number, indices)

    def _queue(self, number: int, indices: tuple[int, ...], retries: int = 0) -> None:
        chunk = self._chunks[number]
        chunk.open += 1
        self._serial += 1
        task = Task(f"{self._run}-{self._serial:06}", tuple(chunk.items[index] for index in indices))
        self._waiting.append(_Subtask(number, indices, task, retries))

    def _completed(self) -> Iterator[Outcome]:
        """The outcomes of all chunks that are done and that no earlier one holds up; their rows go first."""
        while self._next in self._chunks and not self._chunks[self._next].open:
            chunk = self._chunks.pop(self._next)
            for _, row in sorted(chunk.rows.items()):
                self._manifest.merge(row, again=self._manifest.find(row["source"]) is not None)
            for shard in chunk.shards:
                drop_shard(self._config.out, self._manifest, shard)
            self._chunker.forget(self._next)
            self._next += 1
            yield from (outcome for _, outcome in sorted(chunk.outcomes.items()))

    def _handle(self, event: Event) -> None:
        self._last_sign_of_life = time.monotonic()
        if isinstance(event, WorkerRefused):
            raise event.error
        if isinstance(event, WorkerReady):
            self._failed_starts = 0
            self._pool.idle.add(event.worker)
            if event.runs not in self._known:
                self._known.add(event.runs)
                self._say(f"workers: {event.runs}")
        elif isinstance(event, TaskFinished):
            self._pool.idle.add(event.worker)
            self._report(self._running.pop(event.worker), event.report)
        else:
            self._lost(event)

    def _report(self, subtask: _Subtask, report: TaskResult) -> None:
        chunk = self._chunks[subtask.chunk]
        chunk.open -= 1
        chunk.shards.append(subtask.task.shard)
        indices = iter(subtask.indices)  # a worker that was told to stop leaves out some
        for outcome in report.outcomes:
            index = next(each for each in indices if _entry_of(chunk.items[each]).name == outcome.entry.name)
            chunk.outcomes[index], chunk.rows[index] = outcome, row_of(outcome, report.facts)
        for stage, (photos, seconds) in report.stages.items():
            self._meter.add(stage, seconds, photos)
        self._chunker.pace(len(report.outcomes) / max(time.monotonic() - subtask.given, 1e-3))
        if report.fault is not None:
            raise report.fault

    def _lost(self, event: WorkerLost) -> None:
        subtask = self._running.pop(event.worker, None)
        self._pool.idle.discard(event.worker)
        if subtask is None:
            self._failed_starts += 1
            if self._failed_starts >= MAX_RETRIES:
                raise DadfiError(f"cannot start the workers: {event.why}")
        else:
            self.lost += 1
            self._recover(subtask, event)
        if not self._stopped():
            self._pool.begin(event.worker)

    def _recover(self, subtask: _Subtask, event: WorkerLost) -> None:
        """Keep what the worker had written, and queue the rest."""
        chunk, shard = self._chunks[subtask.chunk], subtask.task.shard
        chunk.open -= 1
        chunk.shards.append(shard)
        rows: dict[str, deque[Row]] = {}
        for row in read_shard(self._config.out, self._manifest.facts, shard):
            rows.setdefault(row["source"], deque()).append(row)
        rest = []
        for index in subtask.indices:
            entry = _entry_of(chunk.items[index])
            if of_it := rows.get(entry.name):
                chunk.rows[index] = of_it.popleft()
                chunk.outcomes[index] = outcome_of(chunk.rows[index], entry)
            else:
                rest.append(index)
        done = f"{len(subtask.indices) - len(rest)} of its {len(subtask.indices)} inputs are done"
        self._say(f"worker {event.worker} was lost ({event.why}); {done}, another worker does the rest")
        self._retry(subtask, tuple(rest), event.why)

    def _retry(self, subtask: _Subtask, rest: tuple[int, ...], why: str) -> None:
        """Whole, as a worker may go for reasons of its own; then in halves, to find the photo that ends it."""
        retries = subtask.retries + 1
        if not rest or self._stopped():
            return
        if len(rest) == 1 and retries >= MAX_RETRIES:
            self._mark_failed(subtask.chunk, rest[0], f"{MAX_RETRIES} or more workers died while processing it: {why}")
            return
        half = len(rest) if retries < MAX_RETRIES - 1 else (len(rest) + 1) // 2
        for indices in (rest[half:], rest[:half]):
            if indices:
                self._queue(subtask.chunk, indices, retries)
                self._waiting.rotate(1)  # before all others: they are what later ones wait for

    def _mark_failed(self, number: int, index: int, why: str) -> None:
        chunk = self._chunks[number]
        outcome = Failed(_entry_of(chunk.items[index]), "worker", PhotoError(why))
        chunk.outcomes[index], chunk.rows[index] = outcome, row_of(outcome, self._manifest.facts)

    def _check_timeout(self) -> None:
        if self._running or self._pool.idle:
            self._last_sign_of_life = time.monotonic()
        elif time.monotonic() - self._last_sign_of_life > START_TIMEOUT:
            raise DadfiError(
                f"no worker has started for {START_TIMEOUT:.0f} s. Files already written are kept;"
                " run the same command again to resume."
            )


def _entry_of(item: Input) -> Entry:
    return item if isinstance(item, Entry) else item.entry
