"""A run by several workers: inputs are cut into shares, and what became of them comes out in the order of the inputs.

A worker writes the rows of its share into a part of the manifest, each before its file, and reports them at the end;
then they go into the manifest and the part goes. The part of a worker that is gone is read: what it had written stays
and what is left of the share is given to another. So nothing is lost, and nothing that is written is done twice.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dadfi_fast.errors import DadfiError, PhotoError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.chunker import Cutter
from dadfi_fast.protect.distributed.manifest_shards import drop_part, read_part
from dadfi_fast.protect.distributed.pool import Crew, Event, Finished, Gone, Ready, Refused
from dadfi_fast.protect.distributed.worker import Report, Share
from dadfi_fast.protect.manifest import Manifest, Row, outcome_of, row_of
from dadfi_fast.protect.manifest_store import StoreManifest, new_run
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.results import Entry, Failed, Outcome
from dadfi_fast.protect.resume import has_its_row

#: Shares for each worker that may be under way or wait for an earlier one.
AHEAD: Final = 4
#: Workers may be gone so often on the same photo before it counts as failed.
STRIKES: Final = 3
#: Seconds without any worker before the run ends.
PATIENCE: Final = 120.0


@dataclass
class _Batch:
    """A share as it was cut, until all of it is done."""

    items: Sequence[Any]
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by place among the items
    rows: dict[int, Row] = field(default_factory=dict)  # the same; none for what has its row in the manifest
    parts: list[str] = field(default_factory=list)  # that hold these rows
    open: int = 0  # pieces of it that are handed out or wait to be


@dataclass(frozen=True)
class _Piece:
    """A share that is handed out: a whole batch, or what a worker that is gone left of one."""

    batch: int
    places: tuple[int, ...]
    share: Share
    strikes: int = 0  # workers that went with it
    given: float = 0.0  # when


class Board:
    """Hands out shares, and takes in what became of them.

    Args:
        left: the inputs, as `dadfi_fast.protect.resume.remaining` gives them.
        crew: who works.
        manifest: where all rows end up.
        config: of the run.
        meter: is told what the stages took.
        stopped: whether no more is to be begun.
        say: is told what the user should know.
    """

    def __init__(
        self,
        left: Iterator[Any],
        crew: Crew,
        manifest: Manifest,
        config: ProtectConfig,
        *,
        meter: Meter,
        stopped: Callable[[], bool],
        say: Callable[[str], object],
    ) -> None:
        self._cutter, self._crew, self._manifest, self._config = Cutter(left, config), crew, manifest, config
        self._meter, self._stopped, self._say = meter, stopped, say
        self._run = manifest.run if isinstance(manifest, StoreManifest) else new_run()
        self._batches: dict[int, _Batch] = {}
        self._next = self._cut = self._serial = 0  # batch that comes out next, that is cut next; piece
        self._waiting: deque[_Piece] = deque()
        self._flying: dict[int, _Piece] = {}  # by worker
        self._told = False
        self._silent_since, self._stillborn = time.monotonic(), 0
        self._known: set[str] = set()  # what workers run
        self.lost = 0  # workers that went while they had a share

    def outcomes(self) -> Iterator[Outcome]:
        """What became of every input, in the order of the inputs.

        Raises:
            DadfiError: a fault of the run, or of every worker; what is written is kept.
        """
        while True:
            self._hand_out()
            before = self._next
            yield from self._finished()
            if not self._flying and not self._batches and (self._cutter.over or self._stopped()):
                return
            # What needs no work goes by without waiting for anybody.
            for event in self._crew.events(0.2 if self._next == before else 0.0):
                self._take(event)
            self._lose_patience()

    def _hand_out(self) -> None:
        if self._stopped():
            self._wind_up()
            return
        while self._crew.idle and (piece := self._next_piece()) is not None:
            worker = min(self._crew.idle)
            self._crew.idle.discard(worker)
            self._flying[worker] = replace(piece, given=time.monotonic())
            self._crew.give(worker, piece.share)

    def _wind_up(self) -> None:
        if not self._told:
            self._told = True
            self._crew.stop()
        for piece in self._waiting:
            self._batches[piece.batch].open -= 1
        self._waiting.clear()

    def _next_piece(self) -> _Piece | None:
        while not self._waiting and not self._cutter.over and self._cut < self._next + AHEAD * self._crew.size:
            self._cut_one()
        return self._waiting.popleft() if self._waiting else None

    def _cut_one(self) -> None:
        items = self._cutter.cut(self._cut)
        if not items:
            return
        number, self._cut = self._cut, self._cut + 1
        batch = self._batches[number] = _Batch(items)
        places = tuple(place for place, item in enumerate(items) if not has_its_row(item))
        batch.outcomes.update((place, item) for place, item in enumerate(items) if has_its_row(item))
        if places:
            self._queue(number, places)

    def _queue(self, number: int, places: tuple[int, ...], strikes: int = 0) -> None:
        batch = self._batches[number]
        batch.open += 1
        self._serial += 1
        share = Share(f"{self._run}-{self._serial:06}", tuple(batch.items[place] for place in places))
        self._waiting.append(_Piece(number, places, share, strikes))

    def _finished(self) -> Iterator[Outcome]:
        """The outcomes of all batches that are done and that no earlier one holds up; their rows go first."""
        while self._next in self._batches and not self._batches[self._next].open:
            batch = self._batches.pop(self._next)
            for _, row in sorted(batch.rows.items()):
                self._manifest.merge(row, again=self._manifest.find(row["source"]) is not None)
            for part in batch.parts:
                drop_part(self._config.out, self._manifest, part)
            self._cutter.forget(self._next)
            self._next += 1
            yield from (outcome for _, outcome in sorted(batch.outcomes.items()))

    def _take(self, event: Event) -> None:
        self._silent_since = time.monotonic()
        if isinstance(event, Refused):
            raise event.error
        if isinstance(event, Ready):
            self._stillborn = 0
            self._crew.idle.add(event.worker)
            if event.runs not in self._known:
                self._known.add(event.runs)
                self._say(f"workers run {event.runs}")
        elif isinstance(event, Finished):
            self._crew.idle.add(event.worker)
            self._report(self._flying.pop(event.worker), event.report)
        else:
            self._gone(event)

    def _report(self, piece: _Piece, report: Report) -> None:
        batch = self._batches[piece.batch]
        batch.open -= 1
        batch.parts.append(piece.share.part)
        for place, outcome in zip(piece.places, report.outcomes, strict=False):
            batch.outcomes[place], batch.rows[place] = outcome, row_of(outcome, report.facts)
        for stage, (photos, seconds) in report.stages.items():
            self._meter.add(stage, seconds, photos)
        self._cutter.pace(len(report.outcomes) / max(time.monotonic() - piece.given, 1e-3))
        if report.fault is not None:
            raise report.fault

    def _gone(self, event: Gone) -> None:
        piece = self._flying.pop(event.worker, None)
        self._crew.idle.discard(event.worker)
        if piece is None:
            self._stillborn += 1
            if self._stillborn >= STRIKES:
                raise DadfiError(f"the workers do not start: {event.why}")
        else:
            self.lost += 1
            self._take_over(piece, event)
        if not self._stopped():
            self._crew.begin(event.worker)

    def _take_over(self, piece: _Piece, event: Gone) -> None:
        """Keep what the worker had written, and queue the rest."""
        batch, part = self._batches[piece.batch], piece.share.part
        batch.open -= 1
        batch.parts.append(part)
        rows: dict[str, deque[Row]] = {}
        for row in read_part(self._config.out, self._manifest.facts, part):
            rows.setdefault(row["source"], deque()).append(row)
        rest = []
        for place in piece.places:
            entry = _entry(batch.items[place])
            if of_it := rows.get(entry.name):
                batch.rows[place] = of_it.popleft()
                batch.outcomes[place] = outcome_of(batch.rows[place], entry)
            else:
                rest.append(place)
        done = f"{len(piece.places) - len(rest)} of its {len(piece.places)} inputs are done"
        self._say(f"worker {event.worker} is gone ({event.why}); {done}, another one does the rest")
        self._again(piece, tuple(rest), event.why)

    def _again(self, piece: _Piece, rest: tuple[int, ...], why: str) -> None:
        """Whole, as a worker may go for reasons of its own; then in halves, to find the photo that ends it."""
        strikes = piece.strikes + 1
        if not rest or self._stopped():
            return
        if len(rest) == 1 and strikes >= STRIKES:
            self._give_up(piece.batch, rest[0], f"{STRIKES} or more workers ended while they had it: {why}")
            return
        half = len(rest) if strikes < STRIKES - 1 else (len(rest) + 1) // 2
        for places in (rest[half:], rest[:half]):
            if places:
                self._queue(piece.batch, places, strikes)
                self._waiting.rotate(1)  # before all others: they are what later ones wait for

    def _give_up(self, number: int, place: int, why: str) -> None:
        batch = self._batches[number]
        outcome = Failed(_entry(batch.items[place]), "worker", PhotoError(why))
        batch.outcomes[place], batch.rows[place] = outcome, row_of(outcome, self._manifest.facts)

    def _lose_patience(self) -> None:
        if self._flying or self._crew.idle:
            self._silent_since = time.monotonic()
        elif time.monotonic() - self._silent_since > PATIENCE:
            raise DadfiError(
                f"no worker has come up for {PATIENCE:.0f} s; what is written is kept, the same command goes on"
            )


def _entry(item: Any) -> Entry:
    found: Entry = item if isinstance(item, Entry) else item.entry
    return found
