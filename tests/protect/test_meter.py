"""What the stages take, and which one the others wait for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.protect import meter as module
from dadfi_fast.protect.meter import STAGES, Meter, bottleneck

Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the meter sees."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_rate_and_load(clock: list[float]) -> None:
    meter = Meter(compute=2, disk=6)
    meter.add("decode", 4.0, photos=100)
    meter.add("write", 3.0, photos=60)
    clock[0] = 10.0
    decode, write = meter.stages()
    assert (decode.name, decode.photos, decode.rate, decode.load) == ("decode", 100, 50.0, 0.2)
    assert (write.rate, write.load) == (120.0, 0.05)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({}, None),
        ({"decode": 1, "encode": 2, "perturb": 1}, "encode"),
        ({"decode": 2, "encode": 2, "detect": 3, "perturb": 3}, "detect"),  # together these keep both threads busy
        ({"decode": 1, "encode": 1, "perturb": 3}, "perturb"),
        ({"decode": 1, "write": 30}, "write"),
    ],
)
def test_the_bottleneck_is_in_the_busiest_threads(
    clock: list[float], seconds: dict[str, float], expected: str | None
) -> None:
    meter = Meter(compute=2, disk=6)
    for stage, spent in seconds.items():
        meter.add(stage, spent)
    clock[0] = 5.0
    assert bottleneck(meter.stages()) == expected


def test_a_run_knows_its_stages(photos: Fill, run: Run) -> None:
    photos({f"{n}.jpg": None for n in range(9)} | {"note.txt": b"hello"})
    summary, _ = run()
    names = [name for name in STAGES if name != "strength"]  # that of --strength auto alone
    assert [(stage.name, stage.photos) for stage in summary.stages] == [
        (name, 10 if name == "read" else 9) for name in names
    ]
    figures = summary.to_dict()
    assert figures["bottleneck"] in STAGES and set(figures["stages"]) == set(names)
    assert all(stage["photos_per_second"] > 0 and 0 < stage["load"] < 1 for stage in figures["stages"].values())


def test_totals_can_be_added_up_elsewhere() -> None:
    one, all_of_them = Meter(compute=2, disk=6), Meter(compute=4, disk=12, generators=2)
    one.add("perturb", 1.0, 10)
    one.add("write", 0.0, 3)
    one.busy("write", 0.5)  # six threads for half a second
    assert one.totals() == {"perturb": (10, 1.0), "write": (3, 3.0)}
    for _ in range(2):
        for stage, (photos, seconds) in one.totals().items():
            all_of_them.add(stage, seconds, photos)
    rates = {stage.name: stage.rate for stage in all_of_them.stages()}
    assert rates == {"perturb": pytest.approx(20.0), "write": pytest.approx(12.0)}
