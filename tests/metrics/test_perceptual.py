from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from dadfi_fast.errors import BackendMissing
from dadfi_fast.metrics.perceptual import flip


def picture(size: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(40, 200, (size, size + 8, 3)).astype(np.uint8)


def test_from_equal_to_opposite() -> None:
    pytest.importorskip("flip_evaluator")
    black = np.zeros((48, 48, 3), np.uint8)
    assert flip(picture(), picture()) == 0
    assert 0.8 < flip(black, black + 255) <= 1


def test_more_of_a_change_is_seen_more() -> None:
    pytest.importorskip("flip_evaluator")
    x, pattern = picture() // 2 + 60, np.random.default_rng(1).integers(-1, 2, (48, 56, 3))
    seen = [flip(x, (x + strength * pattern).astype(np.uint8)) for strength in (1, 3, 6)]
    assert 0 < seen[0] < seen[1] < seen[2] < 0.3


def test_coarse_stripes_are_seen_more_than_fine_ones() -> None:
    """As FLIP models the eye, which a mean square does not."""
    pytest.importorskip("flip_evaluator")
    grey, columns = np.full((64, 64, 3), 128, np.uint8), np.arange(64)[None, :, None]
    fine, coarse = ((grey + 6 * (1 - 2 * (columns // width % 2))).astype(np.uint8) for width in (1, 8))
    assert flip(grey, fine) < 0.5 * flip(grey, coarse)


def test_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match="pip install flip-evaluator"):
        flip(picture(), picture())
