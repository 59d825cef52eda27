"""Rounds on a clock that the test turns."""

from __future__ import annotations

import pytest

from dadfi_fast.bench import timing
from dadfi_fast.bench.timing import Case, run_rounds


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def case(self, name: str, *, seconds: float, units: int, tidy: float = 0.0) -> Case:
        def work() -> int:
            self.log.append(name)
            self.now += seconds
            return units

        def clean() -> None:
            self.now += tidy

        return Case(name, "p", "d", work, tidy=clean)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: fake.now)
    return fake


def test_rates_are_units_a_second_and_tidying_is_free(clock: Clock) -> None:
    cases = [clock.case("a", seconds=2.0, units=8, tidy=99.0), clock.case("b", seconds=0.5, units=1)]
    assert run_rounds(cases, repeats=3) == {("a", "p"): [4.0] * 3, ("b", "p"): [2.0] * 3}


def test_every_round_runs_every_case_and_the_order_changes(clock: Clock) -> None:
    cases = [clock.case(name, seconds=1, units=1) for name in "abc"]
    ticks: list[None] = []
    run_rounds(cases, repeats=2, tick=lambda: ticks.append(None))
    assert "".join(clock.log) == "cba" + "abc" + "cba"  # the first is thrown away
    assert len(ticks) == 9


def test_the_first_round_does_not_count(clock: Clock) -> None:
    slow = iter([100.0, 1.0, 1.0])

    def work() -> int:
        clock.now += next(slow)
        return 1

    assert run_rounds([Case("a", "p", "d", work)], repeats=2) == {("a", "p"): [1.0, 1.0]}
