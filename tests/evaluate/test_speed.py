from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from dadfi_fast.attacks.base import CROP_SIZE, Attack
from dadfi_fast.evaluate import speed
from dadfi_fast.evaluate.experiment import NAMED, Progress, Result
from dadfi_fast.evaluate.methods import Method
from dadfi_fast.evaluate.speed import ROUNDS, Timed, measure
from dadfi_fast.types import Budget, Float32

MakeSetup = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "BATCHES", (1, 2))
    monkeypatch.setattr(speed, "PICTURES", 2)


@pytest.fixture
def result(make_setup: MakeSetup, differentiable: None, once: Callable[..., Result]) -> Result:
    setup = make_setup(methods=("noise", "pgd", "fgsm"), options={"pgd": {"steps": 2}})
    return once(lambda: speed.run(setup))


def by_row(result: Result) -> dict[tuple[str, int | None], dict[str, Any]]:
    return {(row["method"], row.get("batch")): dict(row) for row in result.rows}


def test_every_method_at_every_batch(result: Result) -> None:
    names = ("noise", "pgd", "fgsm", "stripes")
    assert list(by_row(result)) == [(name, batch) for batch in (1, 2) for name in names] + [(speed.REST, None)]
    for row in result.rows:
        assert set(NAMED) <= set(row) and row["ms"] > 0
        assert (row["generator"] is not None) == (row["method"] == "stripes")
        assert row["n"] == (3 if row["method"] == speed.REST else 2)  # pictures in a round


def test_calls_a_picture(result: Result) -> None:
    rows = by_row(result)
    for batch in (1, 2):  # two models, five edits; the clean fakes are queries
        assert (rows["pgd", batch]["gradients"], rows["pgd", batch]["queries"]) == (20, 10)
        assert (rows["fgsm", batch]["gradients"], rows["fgsm", batch]["queries"]) == (10, 10)
        assert (rows["stripes", batch]["gradients"], rows["noise", batch]["queries"]) == (0, 0)


def test_the_ratio_is_to_what_works_in_many_steps(result: Result) -> None:
    rows = by_row(result)
    for batch in (1, 2):
        assert rows["pgd", batch]["ratio"] == pytest.approx(1)
        row = rows["stripes", batch]
        assert row["ratio"] == pytest.approx(rows["pgd", batch]["ms"] / row["ms"])
        assert row["ms_least"] <= row["ms"] <= row["ms_most"] and row["rounds"] == ROUNDS
    assert set(speed.ITERATIVE) == {"i-fgsm", "pgd", "anti-forgery", "moma", "ats-o2a", "adv-bot"}


def test_without_an_iterative_method_there_is_no_ratio(make_setup: MakeSetup, differentiable: None) -> None:
    result = speed.run(make_setup(methods=("noise",)))
    assert all(math.isnan(row["ratio"]) for row in result.rows[:-1])
    assert "times as long" not in result.answer


def test_the_answer_in_words(result: Result) -> None:
    ms, ratio = (by_row(result)["stripes", 2][key] for key in ("ms", "ratio"))
    line = result.answer.splitlines()[1]
    assert line.startswith(f"- **stripes**, batch 2: {ms:.1f} ms a picture (") and f" {ratio:.0f} times as long" in line


class Slow(Attack):
    """Takes as long as its clock says, and notes the batches."""

    def __init__(self, clock: list[float], cost: float) -> None:
        super().__init__(Budget(0.05))
        self.clock, self.cost, self.seen = clock, cost, list[list[float]]()

    def run(self, crops: Float32) -> Float32:
        self.clock[0] += self.cost
        self.seen.append(crops[:, 0, 0, 0].tolist())
        return np.zeros_like(crops)


@pytest.mark.parametrize(
    ("n", "batch", "parts"),
    [
        (3, 1, [[0], [1], [2]]),
        (5, 2, [[0, 1], [2, 3]]),  # what does not fill a batch is left out
        (3, 4, [[0, 1, 2, 0]]),  # too few pictures for one batch are repeated
    ],
)
def test_each_round_times_whole_batches(
    monkeypatch: pytest.MonkeyPatch, make_setup: MakeSetup, n: int, batch: int, parts: list[list[float]]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    crops = np.arange(n, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 2, 2), np.float32)
    attack = Slow(clock, 0.5)
    each = Timed(Method("slow", attack), batch)
    measure([each], {CROP_SIZE: crops}, np.zeros((n, 1), np.float32), make_setup())
    assert attack.seen[1:] == parts * ROUNDS  # the first call does not count
    assert each.rounds == pytest.approx([500 / batch] * ROUNDS)
    assert each.pictures == ROUNDS * batch * len(parts)


def test_methods_take_turns(make_setup: MakeSetup) -> None:
    order: list[str] = []

    class Named(Slow):
        def __init__(self, name: str) -> None:
            super().__init__([0.0], 0)
            self.name = name

        def run(self, crops: Float32) -> Float32:
            order.append(self.name)
            return crops * 0

    cases = [Timed(Method(name, Named(name)), 1) for name in "ab"]
    measure(cases, {CROP_SIZE: np.zeros((1, 3, 2, 2), np.float32)}, np.zeros((1, 1), np.float32), make_setup())
    assert "".join(order) == "ab" + "ba" + "ab" + "ba"


def test_the_figure(result: Result) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    result.draw(figure)
    assert [axis.get_xscale() for axis in figure.axes] == ["log", "log"]
    assert len(figure.axes[0].patches) == 2 * 4


@pytest.mark.parametrize(("cost", "calls"), [(0.5, 3), (2.0, 2), (60.0, 1)])
def test_slow_methods_get_fewer_pictures(
    monkeypatch: pytest.MonkeyPatch, make_setup: MakeSetup, cost: float, calls: int
) -> None:
    clock, planned, ticks = [0.0], list[int](), list[int]()
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    attack = Slow(clock, cost)
    setup = make_setup(progress=Progress(plan=planned.append, tick=ticks.append))
    measure(
        [Timed(Method("slow", attack), 1)],
        {CROP_SIZE: np.zeros((3, 1, 2, 2), np.float32)},
        np.zeros((3, 1), np.float32),
        setup,
    )
    assert len(attack.seen) == 1 + calls * ROUNDS
    assert planned == [sum(ticks)] == [calls * ROUNDS]
