"""The trade-off, on models whose fakes are known by hand (`toy_weights`) and a generator that is (`stripes`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("flip_evaluator")
pytest.importorskip("ssimulacra2")

from dadfi_fast.attacks.base import Attack
from dadfi_fast.errors import BackendMissing
from dadfi_fast.evaluate import trade_off
from dadfi_fast.evaluate.experiment import NAMED, Result
from dadfi_fast.evaluate.trade_off import FACTORS, Scaled, at_look
from dadfi_fast.metrics.visibility import METRICS
from dadfi_fast.types import Budget, Float32, UInt8

MakeSetup = Callable[..., Any]


@pytest.fixture
def judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more metric runs here, by which JPEGs are seen more than the stripes are; another one does not."""

    def lenient(original: UInt8, changed: UInt8) -> float:
        return -float(np.abs(original.astype(int) - changed).max() > 20)

    def missing(original: UInt8, changed: UInt8) -> float:
        raise BackendMissing("not here")

    monkeypatch.setattr(trade_off, "JUDGES", {"lenient": lenient, "missing": missing})


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    """A folder of two pictures of 34 px with so much detail that a JPEG of them is seen."""
    folder, rng = tmp_path / "busy", np.random.default_rng(0)
    folder.mkdir()
    for number in range(2):
        Image.fromarray(rng.integers(110, 146, (34, 34, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def result(make_setup: MakeSetup, judges: None, stripes: Path, busy: Path) -> Result:
    return trade_off.run(make_setup(sources=(busy,), generators=(f"ours={stripes}",), strength=0.04))


def curve(result: Result, model: str, key: str) -> list[float]:
    return [row[key] for row in result.rows if row["model"] == model]


def test_every_strength_and_model_has_its_row(result: Result) -> None:
    assert [(row["strength"], row["model"]) for row in result.rows] == [
        (pytest.approx(factor * 0.04), model) for factor in FACTORS for model in ("fragile", "sturdy")
    ]
    for row in result.rows:
        assert set(NAMED) | set(result.columns) <= set(row) and list(row["models"]) == [row["model"]]


def test_more_strength_breaks_more_and_is_seen_more(result: Result) -> None:
    distortion, look = curve(result, "fragile", "d_mask"), curve(result, "fragile", "jpeg_equivalent")
    assert distortion == sorted(distortion) and distortion[-1] > 2 * distortion[0] > 0
    assert look == sorted(look, reverse=True) and look[0] > look[-1]
    assert set(curve(result, "sturdy", "sr_mask")) == {0.0}


def test_the_lowest_of_all_metrics_that_run_here_counts(result: Result) -> None:
    for row in result.rows:
        assert set(row["jpeg_equivalents"]) == {*METRICS, "lenient"}
        assert row["jpeg_equivalent_worst"] <= row["jpeg_equivalent"] <= min(row["jpeg_equivalents"].values())
    assert "- missing is left out: not here" in result.text


def test_the_answer_names_each_method_and_what_is_out_of_reach(result: Result) -> None:
    assert "- fragile, ours: " in result.answer and "- sturdy, ours: " in result.answer


def test_attacks_take_part_where_they_are_named(make_setup: MakeSetup, judges: None, differentiable: None) -> None:
    rows = trade_off.run(make_setup(methods=("noise",))).rows
    assert [row["method"] for row in rows[:: 2 * len(FACTORS)]] == ["noise", "stripes"]


def test_a_scaled_attack_keeps_its_own_budget() -> None:
    class Full(Attack):
        def run(self, crops: Float32) -> Float32:
            return np.ones_like(crops)

    scaled = Scaled(Full(Budget(0.05)), 1.6)
    assert scaled(np.zeros((1, 3, 4, 4), np.float32)).max() == pytest.approx(0.08)


@pytest.mark.parametrize(
    ("looks", "shares", "expected"),
    [((90, 70, 50), (0.2, 0.6, 1.0), 0.5), ((75, 60), (0.3, 0.9), 0.3), ((70, 60), (0.3, 0.9), None)],
)
def test_between_two_strengths(looks: tuple[int, ...], shares: tuple[float, ...], expected: float | None) -> None:
    rows = [{"jpeg_equivalent": look, "sr_mask": share} for look, share in zip(looks, shares, strict=True)]
    assert at_look([*rows, {"jpeg_equivalent": math.nan, "sr_mask": 1.0}], "sr_mask") == (
        None if expected is None else pytest.approx(expected)
    )
