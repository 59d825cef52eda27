"""Prefetching: order kept, never more under way than allowed, errors passed on, threads gone in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from dadfi_fast.protect.prefetch import pools, prefetch


class Gauge:
    """Counts what was pulled and not yet handed out."""

    def __init__(self, n: int) -> None:
        self.n, self.pulled, self.given, self.most = n, 0, 0, 0

    def items(self) -> Iterator[int]:
        for number in range(self.n):
            self.pulled += 1
            self.most = max(self.most, self.pulled - self.given)
            yield number

    def read(self, results: Iterator[int]) -> list[int]:
        numbers = []
        for result in results:
            numbers.append(result)
            self.given += 1
        return numbers


def slow(number: int) -> int:
    """Later items are faster, so that order must be kept on purpose."""
    time.sleep(0.004 * (number % 3 == 0))
    return number * number


def test_order_is_kept_and_look_ahead_is_bounded() -> None:
    gauge = Gauge(40)
    with pools(compute=4, disk=1) as threads:
        results = gauge.read(prefetch(gauge.items(), slow, pool=threads.compute, ahead=5))
    assert results == [n * n for n in range(40)]
    assert gauge.most <= 6


@pytest.mark.parametrize(
    ("heaviest", "most"),
    [
        (3, 2),  # items weigh 2: one at a time, and one that waits outside
        (7, 4),
        (1, 2),  # an item above the bound goes alone, and goes
        (100, 6),  # the count binds
    ],
)
def test_weight_is_bounded(heaviest: int, most: int) -> None:
    gauge = Gauge(20)
    with pools(compute=4, disk=1) as threads:
        results = prefetch(gauge.items(), slow, pool=threads.compute, ahead=5, weight=lambda _: 2, heaviest=heaviest)
        assert gauge.read(results) == [n * n for n in range(20)]
    assert gauge.most <= most + 1


def test_it_really_runs_side_by_side() -> None:
    meet = threading.Barrier(3, timeout=5)
    with pools(compute=3, disk=1) as threads:
        assert list(prefetch(range(3), lambda n: (meet.wait(), n)[1], pool=threads.compute, ahead=3)) == [0, 1, 2]


def test_an_error_comes_out_in_its_place_and_the_rest_is_dropped() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        if number == 2:
            raise OSError("the disk")
        time.sleep(0.01)
        done.append(number)
        return number

    before = threading.active_count()
    results = []
    with pools(compute=1, disk=1) as threads, pytest.raises(OSError, match="the disk"):
        for result in prefetch(range(100), work, pool=threads.compute, ahead=10):
            results.append(result)
    assert results == [0, 1] and len(done) < 20
    assert threading.active_count() == before


def test_nothing_in_nothing_out() -> None:
    with pools(compute=1, disk=1) as threads:
        assert list(prefetch([], slow, pool=threads.compute, ahead=3)) == []
