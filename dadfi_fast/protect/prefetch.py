"""Work on what comes next while the current one is waited for. The only place that knows threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Pools:
    """Threads for what keeps a CPU busy, for what waits for a disk, and for what waits for a GPU."""

    compute: Executor
    disk: Executor
    generator: Executor | None = None  # None: the generator is called from the caller's thread


@contextmanager
def pools(*, compute: int, disk: int, generator: int = 1) -> Iterator[Pools]:
    """Threads for one run; at the end what has begun is finished and what has not is dropped.

    Args:
        compute: threads that decode and encode.
        disk: threads that read and write.
        generator: calls of the generator side by side.
    """
    names = {"compute": compute, "disk": disk} | ({"generator": generator} if generator > 1 else {})
    made = {name: ThreadPoolExecutor(count, f"dadfi-{name}") for name, count in names.items()}
    try:
        yield Pools(**made)
    finally:
        for each in made.values():
            each.shutdown(cancel_futures=True)


def prefetch(
    items: Iterable[T],
    work: Callable[[T], U],
    *,
    pool: Executor,
    ahead: int,
    weight: Callable[[T], int] | None = None,
    heaviest: int = 0,
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
            yield future.result()
            load -= cost
    finally:
        for future, _ in waiting:
            future.cancel()


_END: object = object()
