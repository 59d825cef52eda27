"""Shrinking: quick, and close to the mean over every output pixel's area."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from dadfi_fast.faces.shrink import Pyramid, halvings, shrink
from dadfi_fast.types import UInt8


@pytest.mark.parametrize(
    ("height", "width", "to"),
    [
        (1350, 1350, (320, 320)),  # a portrait for the detector
        (880, 880, (256, 256)),  # a face for the generator
        (600, 450, (320, 240)),  # less than two: one step
        (100, 80, (256, 256)),  # enlarged
        (2000, 37, (320, 6)),  # thin
        (680, 680, (80, 80)),  # halved first
    ],
)
def test_it_is_close_to_the_area_filter(
    smooth: Callable[[int, int], UInt8], height: int, width: int, to: tuple[int, int]
) -> None:
    small = shrink(smooth(height, width), to[1], to[0])
    filtered = cv2.INTER_AREA if height > to[0] else cv2.INTER_LINEAR
    exact = cv2.resize(smooth(height, width), (to[1], to[0]), interpolation=filtered)
    assert small.shape == (*to, 3) and small.dtype == np.uint8
    assert np.abs(small.astype(int) - exact.astype(int)).mean() < 1.5


def test_the_same_size_is_the_same_picture(smooth: Callable[[int, int], UInt8]) -> None:
    picture = smooth(40, 60)
    assert np.array_equal(shrink(picture, 60, 40), picture)


def test_fine_detail_is_averaged_not_picked() -> None:
    board = np.where(np.indices((640, 640)).sum(0) % 2, 255, 0).astype(np.uint8)
    small = shrink(np.dstack([board] * 3), 160, 160)
    assert abs(float(small.mean()) - 127.5) < 1 and small.std() < 10


@pytest.mark.parametrize(
    ("height", "width", "kept", "to"),
    [
        (711, 709, (710, 708), (90, 90)),  # halved once: a row and a column are left out
        (727, 544, (724, 544), (60, 45)),  # twice: 363 is odd again
    ],
)
def test_odd_rows_and_columns_are_left_out(
    smooth: Callable[[int, int], UInt8], height: int, width: int, kept: tuple[int, int], to: tuple[int, int]
) -> None:
    picture = smooth(height, width)
    exact = cv2.resize(picture[: kept[0], : kept[1]], (to[1], to[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(shrink(picture, to[1], to[0]).astype(int) - exact.astype(int)).mean() < 1.5


@pytest.mark.parametrize(
    ("size", "to", "times"),
    [
        ((1350, 1350), (320, 320), 0),  # 4.2: a linear resize and the area filter by 2 are left
        ((1350, 1350), (160, 160), 1),  # 8.4
        ((4000, 3000), (160, 120), 3),  # 25
        ((1999, 31), (160, 12), 0),  # the shorter side would end up smaller than it is to be
        ((100, 80), (256, 256), 0),  # enlarged
    ],
)
def test_halvings(size: tuple[int, int], to: tuple[int, int], times: int) -> None:
    assert halvings(*size, *to) == times


def test_copies_do_not_depend_on_those_before(smooth: Callable[[int, int], UInt8]) -> None:
    picture = smooth(450, 601)
    copies = Pyramid(picture)
    for width in (40, 80, 40, 160, 601):
        height = round(width * 450 / 601)
        assert np.array_equal(copies(width, height), shrink(picture, width, height))


def test_a_thin_picture_keeps_its_rows() -> None:
    stripes = np.repeat(np.array([0, 255] * 15, np.uint8)[:, None, None], 2000, axis=1).repeat(3, axis=2)
    assert stripes.shape == (30, 2000, 3)
    assert np.ptp(shrink(stripes, 160, 30), axis=0).min() > 150  # rows are not mixed where they need not shrink
