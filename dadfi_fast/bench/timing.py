"""Rounds: every case once in each, in changing order, so that whatever else the machine does hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

#: Name and provider of a case.
Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Case:
    """Something to be timed."""

    name: str
    provider: str
    driver: str
    work: Callable[[], int]  # does one round and says how many units it got through
    unit: str = "images/s"
    config: dict[str, Any] = field(default_factory=dict)
    tidy: Callable[[], object] = lambda: None  # called after each round, off the clock

    @property
    def key(self) -> Key:
        """What tells it from other cases."""
        return self.name, self.provider


def run_rounds(
    cases: Sequence[Case], *, repeats: int, tick: Callable[[], object] = lambda: None
) -> dict[Key, list[float]]:
    """Units a second of every case in each of ``repeats`` rounds, by the case's key; a first round is thrown away.

    Args:
        cases: with different keys.
        repeats: rounds that count, at least 1.
        tick: called after every case of every round, the first included.
    """
    rates: dict[Key, list[float]] = {case.key: [] for case in cases}
    assert len(rates) == len(cases), "two cases have one name and provider"
    for number in range(repeats + 1):
        for case in cases if number % 2 else reversed(cases):
            start = time.perf_counter()
            done = case.work()
            seconds = time.perf_counter() - start
            case.tidy()
            if number:
                rates[case.key].append(done / seconds)
            tick()
    return rates
