"""Shrinking: quick, and close to the mean over every output pixel's area."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from dadfi_fast.faces.shrink import shrink
from dadfi_fast.types import UInt8


@pytest.mark.parametrize(
    ("height", "width", "to"),
    [
        (1350, 1350, (320, 320)),  # a portrait for the detector
        (880, 880, (256, 256)),  # a face for the generator
        (600, 450, (320, 240)),  # less than two: one step
        (100, 80, (256, 256)),  # enlarged
        (2000, 37, (320, 6)),  # thin
    ],
)
def test_it_is_close_to_the_area_filter(
    smooth: Callable[[int, int], UInt8], height: int, width: int, to: tuple[int, int]
) -> None:
    found = shrink(smooth(height, width), to[1], to[0])
    filtered = cv2.INTER_AREA if height > to[0] else cv2.INTER_LINEAR
    exact = cv2.resize(smooth(height, width), (to[1], to[0]), interpolation=filtered)
    assert found.shape == (*to, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - exact.astype(int)).mean() < 1.5


def test_the_same_size_is_the_same_picture(smooth: Callable[[int, int], UInt8]) -> None:
    picture = smooth(40, 60)
    assert np.array_equal(shrink(picture, 60, 40), picture)


def test_fine_detail_is_averaged_not_picked() -> None:
    board = np.where(np.indices((640, 640)).sum(0) % 2, 255, 0).astype(np.uint8)
    small = shrink(np.dstack([board] * 3), 160, 160)
    assert abs(float(small.mean()) - 127.5) < 1 and small.std() < 10
