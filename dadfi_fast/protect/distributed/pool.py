"""The workers of a run, wherever they are: given tasks, they answer with events."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from dadfi_fast.errors import DadfiError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.worker import Task, TaskResult


@dataclass(frozen=True)
class WorkerReady:
    """A worker has started."""

    worker: int
    runs: str  # what runs there, and why


@dataclass(frozen=True)
class TaskFinished:
    """A worker has finished its task."""

    worker: int
    report: TaskResult


@dataclass(frozen=True)
class WorkerLost:
    """A worker has ended, with whatever it was working on."""

    worker: int
    why: str


@dataclass(frozen=True)
class WorkerRefused:
    """A worker cannot work where it is, for a reason that would hold another time as well."""

    worker: int
    error: DadfiError


Event: TypeAlias = WorkerReady | TaskFinished | WorkerLost | WorkerRefused


class WorkerPool(ABC):
    """Workers, numbered from 0.

    Attributes:
        grace: seconds that they may take to report, once they are told to stop.

    Args:
        size: how many.
        threads: each of them has for decoding and encoding.
    """

    grace = math.inf

    def __init__(self, size: int, *, threads: int) -> None:
        self.size, self.threads = size, threads
        self.idle: set[int] = set()  # those that are ready and have nothing to do
        self._started = False

    @property
    def describe(self) -> str:
        """How many there are, for people."""
        return f"{self.size} worker{'s' * (self.size != 1)} of {self.threads} thread{'s' * (self.threads != 1)}"

    def config_for_workers(self, config: ProtectConfig) -> ProtectConfig:
        """The config with the places as workers find them."""
        return config

    def start(self) -> None:
        """Start all workers; at a second run they are there already."""
        if not self._started:
            self._started = True
            for worker in range(self.size):
                self.begin(worker)

    @abstractmethod
    def begin(self, worker: int) -> None:
        """Start a worker, also in place of one that is gone; later it says that it is ready."""

    @abstractmethod
    def give(self, worker: int, task: Task) -> None:
        """Hand a task to a worker that is idle."""

    @abstractmethod
    def events(self, timeout: float) -> Iterable[Event]:
        """What has happened; waits up to ``timeout`` seconds for something to happen."""

    @abstractmethod
    def stop(self) -> None:
        """Let all workers finish the photos that they have under way, and report."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, now."""
