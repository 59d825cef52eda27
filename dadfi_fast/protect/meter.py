"""How fast each stage of a run is, and which one the others wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dadfi_fast.protect.trace import Trace

#: Stage -> what it shares with others: the threads that compute, those that wait for disks, or the generator.
STAGES: Final[Mapping[str, str]] = {
    "read": "disk",
    "decode": "compute",
    "detect": "compute",
    "crop": "compute",
    "perturb": "generator",
    "strength": "compute",
    "encode": "compute",
    "write": "disk",
}


@dataclass(frozen=True)
class Stage:
    """One stage of a run, up to now."""

    name: str
    photos: int
    rate: float  # photos a second, if its threads did nothing else
    load: float  # share of those threads' time, since the run began, that went into it


class Meter:
    """Adds up what the stages take. Safe to use from several threads.

    Args:
        compute: threads that decode, detect and encode.
        disk: threads that read and write.
        trace: is told of every span of work.
        generators: that run side by side.
    """

    def __init__(self, *, compute: int, disk: int, trace: Trace | None = None, generators: int = 1) -> None:
        self.trace = trace
        self._threads = {"compute": compute, "disk": disk, "generator": generators}
        self._photos = dict.fromkeys(STAGES, 0)
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._lock = threading.Lock()
        self._start = time.perf_counter()

    def add(self, stage: str, seconds: float, photos: int = 1) -> None:
        """``stage`` has worked for ``seconds``, until now, on ``photos``."""
        self._add(stage, seconds, photos, begun=False)

    def begin(self, stage: str) -> None:
        """This thread begins to work for ``stage``, and calls `end` afterwards, whatever happens."""
        if self.trace is not None:
            self.trace.begin(stage)

    def end(self, stage: str, seconds: float, photos: int = 1, *, of: str | None = None) -> None:
        """This thread began ``seconds`` ago, and is done with ``photos``; ``of``: what the one photo is called."""
        self._add(stage, seconds, photos, begun=True, of=of)

    def _add(self, stage: str, seconds: float, photos: int, *, begun: bool, of: str | None = None) -> None:
        with self._lock:
            self._photos[stage] += photos
            self._seconds[stage] += seconds
        if self.trace is not None:
            what: dict[str, int | str] = {"photos": photos} if of is None else {"photo": of}
            self.trace.span(stage, seconds, kind=STAGES[stage], begun=begun, **what)

    def busy(self, stage: str, seconds: float) -> None:
        """``stage`` took up all the threads of its kind for ``seconds``; its photos are added elsewhere."""
        with self._lock:
            self._seconds[stage] += seconds * self._threads[STAGES[stage]]

    def totals(self) -> dict[str, tuple[int, float]]:
        """Photos and seconds of each stage that has done something."""
        with self._lock:
            return {name: (n, self._seconds[name]) for name, n in self._photos.items() if n}

    def stages(self) -> list[Stage]:
        """The stages that have done something, in the order in which a photo goes through them."""
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        with self._lock:
            facts = [(name, self._photos[name], self._seconds[name], self._threads[STAGES[name]]) for name in STAGES]
        return [
            Stage(name, photos, threads * photos / max(seconds, 1e-9), seconds / threads / elapsed)
            for name, photos, seconds, threads in facts
            if photos
        ]


def bottleneck(stages: list[Stage]) -> str | None:
    """The stage that the others wait for: of those that share the busiest threads, the one that takes most of them."""
    if not stages:
        return None
    loads = {pool: sum(each.load for each in stages if STAGES[each.name] == pool) for pool in STAGES.values()}
    busiest = max(loads, key=lambda pool: loads[pool])
    return max((each for each in stages if STAGES[each.name] == busiest), key=lambda each: each.load).name
