from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from dadfi_fast.errors import BackendMissing
from dadfi_fast.metrics.visibility import BEST, METRICS, WORST, as_jpeg, equivalent, jpeg_equivalent
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


def test_what_to_install(monkeypatch: pytest.MonkeyPatch, picture: UInt8) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match="pip install ssimulacra2"):
        jpeg_equivalent(picture, picture)
