from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from dadfi_fast.errors import BackendMissing
from dadfi_fast.metrics.visibility import BEST, METRICS, WORST, JpegScores, as_jpeg, equivalent, jpeg_equivalent
from dadfi_fast.types import UInt8


@pytest.fixture
def picture() -> UInt8:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:256, :256] / 9.0
    shades = np.stack([128 + 50 * np.sin(rows + c) + 20 * np.cos(2 * columns) for c in range(3)], axis=2)
    return np.clip(shades + rng.normal(0, 6, shades.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [20, 50, 80])
def test_a_jpeg_is_equivalent_to_itself(quality: int, picture: UInt8) -> None:
    for metric in METRICS.values():
        assert abs(equivalent(metric, picture, as_jpeg(picture, quality)) - quality) <= 3


def test_the_ends(picture: UInt8) -> None:
    assert jpeg_equivalent(picture, picture) == BEST
    assert jpeg_equivalent(picture, 255 - picture) == WORST


def test_the_lowest_of_all_metrics_counts(picture: UInt8) -> None:
    tinted = np.clip(picture + np.array([0, 12, -12]), 0, 255).astype(np.uint8)
    each = [equivalent(metric, picture, tinted) for metric in METRICS.values()]
    assert jpeg_equivalent(picture, tinted) == min(each) < max(each)


def test_a_second_metric_asks_for_few_jpegs_where_it_is_not_the_lowest(picture: UInt8) -> None:
    calls: list[int] = []

    def lenient(original: UInt8, changed: UInt8) -> float:
        """Rates the protected picture better than any JPEG."""
        calls.append(1)
        return 1.0 if changed is protected else 0.0

    protected = as_jpeg(picture, 40)
    lowest = equivalent(METRICS["flip"], picture, protected)
    both = {"flip": METRICS["flip"], "lenient": lenient}
    assert jpeg_equivalent(picture, protected, metrics=both) == lowest and len(calls) == 2
    assert equivalent(METRICS["flip"], picture, as_jpeg(picture, 90), most=50) == 50


def test_what_to_install(monkeypatch: pytest.MonkeyPatch, picture: UInt8) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match="pip install flip-evaluator"):
        jpeg_equivalent(picture, picture)


def test_each_jpeg_is_scored_once_for_all_changes(picture: UInt8) -> None:
    calls: list[int] = []

    def metric(original: UInt8, changed: UInt8) -> float:
        calls.append(1)
        return METRICS["flip"](original, changed)

    scores = JpegScores(metric, picture)
    changes = [as_jpeg(picture, quality) for quality in (30, 60)]
    equivalents = [scores.equivalent(change) for change in changes]
    assert equivalents == [equivalent(METRICS["flip"], picture, change) for change in changes]
    first = len(calls)
    assert [scores.equivalent(change) for change in changes] == equivalents and len(calls) == first + 2
