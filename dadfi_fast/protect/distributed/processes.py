"""Several processes on this machine: one for each GPU, or some that share the CPU's cores.

Tasks and reports go through a pipe. A worker whose run is gone sees the pipe's end, finishes the photos that it has
under way, and ends. On several GPUs this has never run.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

from dadfi_fast.errors import DadfiError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.pool import Event, TaskFinished, WorkerLost, WorkerPool, WorkerReady, WorkerRefused
from dadfi_fast.protect.distributed.worker import ContextFactory, Task, Worker
from dadfi_fast.protect.interrupt import GRACE, SIGNALS, Stop, leave
from dadfi_fast.protect.manifest import NAME

#: What a worker is told beside tasks: finish what is under way; end.
_STOP: Final = "stop"
_END: Final = "end"
#: Seconds that a worker may take to end by itself.
_PATIENCE: Final = 5.0
#: The same of one that was told to stop before, and has had its time.
_PATIENCE_AFTER_STOP: Final = 0.2


@dataclass(frozen=True, eq=False)
class _Handle:
    process: BaseProcess
    pipe: Connection


class Processes(WorkerPool):
    """One process for each config.

    Args:
        configs: of the run, each with the threads and the device of one worker.
        factory: makes the context of a worker, in its process.
    """

    grace = GRACE + 0.5  # of which a worker needs a part

    def __init__(self, configs: Sequence[ProtectConfig], factory: ContextFactory) -> None:
        super().__init__(len(configs), threads=configs[0].threads)
        self._configs, self._make = configs, factory
        # Forked, a process would have the locks of this one's threads, and a GPU that it cannot use.
        self._context = multiprocessing.get_context("spawn")
        self._hands: dict[int, _Handle] = {}
        self._told_to_stop = False

    def begin(self, worker: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_main, args=(theirs, self._configs[worker], self._make), name=f"dadfi-worker-{worker}", daemon=True
        )
        process.start()
        theirs.close()
        self._hands[worker] = _Handle(process, ours)

    def give(self, worker: int, task: Task) -> None:
        with suppress(OSError):  # it is gone, which is the next event
            self._hands[worker].pipe.send(task)

    def events(self, timeout: float) -> Iterator[Event]:
        ready = set(wait([hand.pipe for hand in self._hands.values()], timeout))
        for worker, hand in list(self._hands.items()):
            if hand.pipe in ready:
                yield self._event(worker, hand)

    def stop(self) -> None:
        self._told_to_stop = True
        for hand in self._hands.values():
            with suppress(OSError):
                hand.pipe.send(_STOP)

    def close(self) -> None:
        for hand in self._hands.values():
            with suppress(OSError):
                hand.pipe.send(_END)
        end = time.monotonic() + (_PATIENCE_AFTER_STOP if self._told_to_stop else _PATIENCE)
        for hand in self._hands.values():
            hand.process.join(max(0.0, end - time.monotonic()))
            if hand.process.exitcode is None:
                hand.process.kill()
                hand.process.join()
            hand.pipe.close()
        self._hands.clear()
        self.idle.clear()

    def _event(self, worker: int, hand: _Handle) -> Event:
        try:
            kind, content = hand.pipe.recv()
        except (EOFError, OSError):
            hand.process.join()
            hand.pipe.close()
            del self._hands[worker]
            return WorkerLost(worker, _ended(hand.process.exitcode))
        if kind == "ready":
            return WorkerReady(worker, content)
        return TaskFinished(worker, content) if kind == "report" else WorkerRefused(worker, content)


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"it ended with exit code {code}"


def _main(pipe: Any, config: ProtectConfig, factory: ContextFactory) -> None:
    """A worker's life: what it is told comes through a thread, so that it can be told to stop while it works."""
    for number in SIGNALS:  # a terminal sends them to all; the run passes them on
        signal.signal(number, signal.SIG_IGN)
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    stop = Stop()
    threading.Thread(target=_listen, args=(pipe, tasks, stop), name="dadfi-listen", daemon=True).start()
    with suppress(OSError):  # the run is gone: what is done stands in the shard
        try:
            worker = Worker(config, factory, NAME)
        except DadfiError as error:
            pipe.send(("refused", error))
            return
        pipe.send(("ready", worker.describe))
        while (task := tasks.get()) is not None:
            pipe.send(("report", worker.do(task, stop)))
    leave(0)


def _listen(pipe: Any, tasks: queue.SimpleQueue[Task | None], stop: Stop) -> None:
    told: Any = None
    with suppress(EOFError, OSError):
        while (told := pipe.recv()) != _END:
            if told == _STOP:
                stop.set()
            else:
                tasks.put(told)
    stop.set()
    tasks.put(None)
