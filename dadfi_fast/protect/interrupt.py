"""Ctrl-C, and the signal that service managers and containers send, as a wish to finish."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first signal sets; the second one interrupts as usual. Off the main thread: never set.

    May be nested: the innermost event is set.
    """
    stop = threading.Event()
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
