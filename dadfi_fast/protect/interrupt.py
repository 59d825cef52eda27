"""Ctrl-C, and the signal that service managers and containers send, as a wish to finish that is granted in time.

The first signal lets photos that are under way get finished. Those that take about a second are left: a decoder
cannot be stopped, so its thread is left alone, and `leave` ends the process without waiting for it. Where not even
Python gets its turn, as a codec keeps its lock, `deadline` ends the process from outside.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: Seconds that photos under way may still take, from the first signal on.
GRACE: Final = 0.8
#: Seconds after a signal at which the process is ended from outside.
DEADLINE: Final = 1.9
#: How threads are called that may be left with a photo.
THREADS: Final = "dadfi-"
#: Waits for the number of a signal, and then for the process to end; it has no other way to see either than its stdin.
#: Which file is to go before the process is ended stands in another file.
_WATCHDOG: Final = """
import os, select, sys, time
numbers, seconds, process = set(map(int, sys.argv[1].split(","))), float(sys.argv[2]), os.getppid()
removed = int(sys.argv[3])
while not numbers & set(received := os.read(0, 64)):
    if not received:
        raise SystemExit
end = time.monotonic() + seconds
while (left := end - time.monotonic()) > 0:
    if select.select([0], [], [], left)[0] and not os.read(0, 64):
        raise SystemExit
if os.getppid() == process:
    try:
        os.unlink(os.pread(removed, 65536, 0))
    except OSError:
        pass
    print("dadfi-fast: error: interrupted, and ended at once: one photo took too long", file=sys.stderr, flush=True)
    os.kill(process, 9)
"""
#: The descriptor of that other file, as long as there is a watchdog.
_removed: int | None = None


class Stop(threading.Event):
    """The wish to finish.

    Args:
        grace: seconds that what is under way may still take once it is set.
    """

    def __init__(self, grace: float = GRACE) -> None:
        super().__init__()
        self._grace, self._since = grace, math.inf
        #: Inputs that were under way and were left, as they took longer.
        self.left = 0

    def set(self) -> None:
        """Wish it."""
        self._since = min(self._since, time.monotonic())
        super().set()

    def is_late(self, more: float = 0.0) -> bool:
        """Whether it was set longer ago than the time of grace, and ``more`` seconds."""
        return time.monotonic() - self._since > self._grace + more


@contextmanager
def interruptible() -> Iterator[Stop]:
    """A wish that the first signal sets; the second one interrupts as usual. Off the main thread: never set.

    May be nested: the innermost one is set.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def first(_number: int, _frame: object) -> None:
        stop.set()
        restore()

    before = {number: signal.signal(number, first) for number in SIGNALS}
    try:
        yield stop
    finally:
        restore()


def until_stopped(items: Iterable[T], stop: threading.Event) -> Iterator[T]:
    """The items up to the moment at which ``stop`` is set."""
    for item in items:
        if stop.is_set():
            return
        yield item


@contextmanager
def deadline(seconds: float = DEADLINE) -> Iterator[None]:
    """End this process so many seconds after a signal, by another one, whatever it is doing.

    What is written stays valid, as after any kill. Without effect where there are no such signals, and off the main
    thread.
    """
    global _removed
    if os.name != "posix" or not sys.executable or threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, theirs = os.pipe()  # inherited by none but the watchdog, which gets the first as its stdin
    os.set_blocking(theirs, False)
    names = ",".join(str(int(number)) for number in SIGNALS)
    command = [sys.executable, "-I", "-S", "-c", _WATCHDOG, names, str(seconds)]
    with ExitStack() as stack:
        try:
            removed = stack.enter_context(tempfile.TemporaryFile()).fileno()
            watchdog = subprocess.Popen(
                [*command, str(removed)],
                stdin=ours,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(removed,),
            )
        except OSError:  # no room for a process
            os.close(theirs)
            yield
            return
        finally:
            os.close(ours)
        # Python writes the number there as soon as a signal comes, and not when its own handler has its turn.
        before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
        _removed = removed
        try:
            yield
        finally:
            _removed = None
            signal.set_wakeup_fd(before)
            os.close(theirs)
            with suppress(subprocess.TimeoutExpired):
                watchdog.wait(1)


def removed_at_deadline(path: Path | None) -> None:
    """Have a file go if `deadline` has to end this process; it takes the place of the one named before. None: no file.

    Without effect outside of `deadline`.
    """
    if _removed is not None:
        with suppress(OSError):  # no room on the disk for a name
            os.ftruncate(_removed, 0)
            os.pwrite(_removed, b"" if path is None else os.fsencode(path.absolute()), 0)


def leave(code: int) -> None:
    """End the process with an exit code where a thread is left with a photo; elsewhere there is nothing to do."""
    if any(thread.name.startswith(THREADS) and not thread.daemon for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
