from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from dadfi_fast.errors import BackendMissing
from dadfi_fast.metrics import perceptual
from dadfi_fast.metrics.perceptual import BUTTERAUGLI, butteraugli, colorvideovdp, flip


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
    differences = [flip(x, (x + strength * pattern).astype(np.uint8)) for strength in (1, 3, 6)]
    assert 0 < differences[0] < differences[1] < differences[2] < 0.3


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


def test_butteraugli_sees_more_of_more() -> None:
    if shutil.which(BUTTERAUGLI) is None:
        pytest.skip(f"{BUTTERAUGLI} is not installed")
    x = picture(64)
    changed = [np.clip(x.astype(int) + step, 0, 255).astype(np.uint8) for step in (3, 12)]
    assert butteraugli(x, x) < butteraugli(x, changed[0]) < butteraugli(x, changed[1])


def test_where_the_program_or_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BackendMissing, match="apt install libjxl-devtools"):
        butteraugli(picture(), picture())
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    perceptual._colorvideovdp.cache_clear()
    with pytest.raises(BackendMissing, match="pip install cvvdp"):
        colorvideovdp(picture(), picture())


def test_butteraugli_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / BUTTERAUGLI
    program.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(BackendMissing, match="broken"):
        butteraugli(picture(), picture())
