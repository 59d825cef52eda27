"""What changed, by fineness and by place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.preprocess import Crop
from dadfi_fast.check.visibility import NOTICED, YCC, Visibility
from dadfi_fast.faces.align import Square

SIZE = Visibility.size
PAIR = Pair("a", Path("a"), Path("b"))


def crop(original: np.ndarray, change: np.ndarray) -> Crop:
    """A crop whose change is given in levels, [3, S, S]."""
    before = np.broadcast_to(original, (3, SIZE, SIZE)).astype(np.float32)
    after = (before + change / 127.5).astype(np.float32)
    return Crop(Square(0, 0, SIZE), {SIZE: before}, {SIZE: after})


def waves(cycles: int, *, across: bool = True) -> np.ndarray:
    row = 4 * np.sin(2 * np.pi * cycles * np.arange(SIZE) / SIZE)
    return np.broadcast_to(row if across else row[:, None], (3, SIZE, SIZE))


def traced(*crops: Crop, condition: str = "written") -> Visibility:
    traces = Visibility()
    traces.crops([((PAIR, condition), each) for each in crops])
    return traces


@pytest.mark.parametrize("cycles", [1, 20, 128])
@pytest.mark.parametrize("across", [True, False])
def test_a_wave_is_found_at_its_fineness(cycles: int, across: bool) -> None:
    wave = waves(cycles, across=across)
    spectrum = traced(crop(np.zeros(1), wave)).spectrum
    brightness, colour = spectrum
    assert brightness.argmax() == cycles - 1
    assert brightness[cycles - 1] == pytest.approx((wave[0] ** 2).mean(), rel=1e-4, abs=1e-9)
    assert brightness.sum() == pytest.approx(brightness[cycles - 1], rel=1e-4, abs=1e-9)
    assert colour.max() < 1e-6  # a change of grey has none


def test_a_change_of_colour_is_told_from_one_of_brightness() -> None:
    to_rgb = np.linalg.inv(YCC.astype(float))
    change = np.tensordot(to_rgb[:, 1:2], waves(20)[:1], axes=1)  # Cb alone
    brightness, colour = traced(crop(np.zeros(1), change)).spectrum
    assert colour[19] == pytest.approx(8, rel=1e-3)
    assert brightness.max() < 1e-3


def test_faces_are_averaged() -> None:
    traces = traced(crop(np.zeros(1), waves(20)), crop(np.zeros(1), np.zeros((3, SIZE, SIZE))))
    assert traces.n == 2
    assert traces.spectrum[0, 19] == pytest.approx(4, rel=1e-3)


def test_from_black_to_white_is_a_hundred() -> None:
    change = np.zeros((3, SIZE, SIZE))
    change[:, :64] = 255
    traces = traced(crop(np.full(1, -1.0), change))
    assert traces.visible[:64] == pytest.approx(100, abs=0.1)
    assert traces.visible[64:] == pytest.approx(0)
    assert traces.share_visible == pytest.approx(0.25)


def test_what_people_notice() -> None:
    grey = np.zeros(1)
    assert traced(crop(grey, np.full((3, SIZE, SIZE), 3.0))).share_visible == 0  # three levels of grey: 1.2
    assert traced(crop(grey, np.full((3, SIZE, SIZE), 7.0))).share_visible == 1  # seven: 2.7
    assert 1.2 < NOTICED < 2.7


def test_other_conditions_are_passed_over() -> None:
    assert traced(crop(np.zeros(1), waves(20)), condition="jpeg:75").n == 0


def test_without_a_face_there_is_nothing() -> None:
    traces = Visibility()
    assert traces.spectrum.max() == traces.visible.max() == traces.share_visible == 0
