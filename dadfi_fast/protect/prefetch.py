"""Work on what comes next while the current one is waited for. The only place that knows threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from dadfi_fast.protect.interrupt import THREADS, Stop

T = TypeVar("T")
U = TypeVar("U")
#: Seconds between two looks at whether a run is to end while a result is waited for.
_LOOK: Final = 0.1


@dataclass(frozen=True)
class Pools:
    """Threads for what keeps a CPU busy, for what waits for a disk, and for what waits for a GPU."""

    compute: Executor
    disk: Executor
    generator: Executor | None = None  # None: the generator is called from the caller's thread


@contextmanager
def pools(
    *, compute: int, disk: int, generator: int = 1, apart: bool = False, stop: Stop | None = None
) -> Iterator[Pools]:
    """Threads for one run; at the end what has begun is finished and what has not is dropped.

    A run that is told to stop, and has left photos or is ended by an error, does not wait for what has begun.

    Args:
        compute: threads that decode and encode.
        disk: threads that read and write.
        generator: calls of the generator side by side.
        apart: a single one has a thread of its own, too, so that the run can end without it.
        stop: the wish to finish.
    """
    names = {"compute": compute, "disk": disk} | ({"generator": generator} if generator > 1 or apart else {})
    executors = {name: ThreadPoolExecutor(count, f"{THREADS}{name}") for name, count in names.items()}
    waits = True
    try:
        yield Pools(**executors)
    except BaseException:
        waits = stop is None or not stop.is_set()
        raise
    finally:
        for each in executors.values():
            each.shutdown(wait=waits and not (stop and stop.left), cancel_futures=True)


def prefetch(
    items: Iterable[T],
    work: Callable[[T], U],
    *,
    pool: Executor,
    ahead: int,
    weight: Callable[[T], int] | None = None,
    heaviest: int = 0,
    stop: Stop | None = None,
    grace: float = 0.0,
) -> Iterator[U]:
    """``map(work, items)``, several at a time, in order.

    Args:
        items: pulled in the caller's thread, never more than needed.
        work: called in the pool's threads; what it raises comes out here.
        pool: where it runs.
        ahead: so many results are under way or waiting at the most.
        weight: what an item costs in memory.
        heaviest: so much may be under way or waiting together; an item above it goes alone. Items are let in in order,
            so a heavy one is not overtaken and cannot wait for ever.
        stop: once it is late, results that are not there are left out.
        grace: so many seconds later than others, as this comes behind them.
    """
    waiting: deque[tuple[Future[U], int]] = deque()
    coming = iter(items)
    held: list[tuple[T, int]] = []  # the item that has no room yet
    load = 0
    try:
        while True:
            while len(waiting) < ahead:
                if not held:
                    item = next(coming, _END)
                    if item is _END:
                        break
                    held.append((item, weight(item) if weight else 0))  # type: ignore[arg-type]
                if weight and waiting and load + held[0][1] > heaviest:
                    break
                item, cost = held.pop()
                load += cost
                waiting.append((pool.submit(work, item), cost))
            if not waiting:
                return
            future, cost = waiting.popleft()
            if _comes(future, stop, grace):
                yield future.result()
            load -= cost
    finally:
        for future, _ in waiting:
            future.cancel()


def _comes(future: Future[U], stop: Stop | None, grace: float) -> bool:
    """Wait for a result; False where the run is to end and will not wait any longer."""
    if stop is None:
        return True
    while not future.done():
        if stop.is_late(grace):
            stop.left += 1
            future.cancel()
            return False
        wait((future,), _LOOK)
    return True


_END: object = object()
