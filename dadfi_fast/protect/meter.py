"""How fast each stage of a run is, and which one the others wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: Stage -> what it shares with others: the threads that compute, those that wait for disks, or the generator.
STAGES: Final[Mapping[str, str]] = {
    "read": "disk",
    "decode": "compute",
    "detect": "compute",
    "crop": "compute",
    "perturb": "generator",
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
    """

    def __init__(self, *, compute: int, disk: int) -> None:
        self._threads = {"compute": compute, "disk": disk, "generator": 1}
        self._photos = dict.fromkeys(STAGES, 0)
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._lock = threading.Lock()
        self._start = time.perf_counter()

    def add(self, stage: str, seconds: float, photos: int = 1) -> None:
        """``stage`` has worked for ``seconds`` on ``photos``."""
        with self._lock:
            self._photos[stage] += photos
            self._seconds[stage] += seconds

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
