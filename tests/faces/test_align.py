from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dadfi_fast.faces import align
from dadfi_fast.faces.align import Square
from dadfi_fast.types import LEVELS, Face, UInt8

PHOTO = (120, 160)  # height, width


@pytest.mark.parametrize(
    ("face", "expected"),
    [
        (Face(50, 40, 90, 80, 1), Square(38, 28, 64)),  # 1.6 x 40, about the same centre
        (Face(50, 40, 70, 80, 1), Square(28, 28, 64)),  # the longer side counts
        (Face(0, 0, 40, 40, 1), Square(-12, -12, 64)),  # over the corner
        (Face(10, 10, 11, 11, 1), Square(6, 6, 8)),  # never below 8 pixels
    ],
    ids=["square face", "narrow face", "in the corner", "tiny"],
)
def test_square(face: Face, expected: Square) -> None:
    assert align.square(face) == expected


@pytest.mark.parametrize(("height", "width"), [PHOTO, (160, 120), (100, 100), (101, 57), (1, 1), (3, 900)])
def test_the_whole_picture_as_a_face_covers_it(height: int, width: int) -> None:
    where = align.square(align.whole(height, width))
    rows, columns, _, _ = where.inside(height, width)
    assert (rows, columns) == (slice(0, height), slice(0, width))
    assert where.side == max(height, width, 8)


SQUARES = [
    Square(20, 30, 50),  # inside
    Square(-15, 30, 50),  # over the left edge
    Square(140, 100, 64),  # over right and bottom
    Square(-40, -40, 300),  # larger than the photo
    Square(0, 0, 120),  # touching the edges
]


BEYOND = [Square(-30, 10, 20), Square(10, -30, 20), Square(900, 10, 20), Square(10, 900, 20)]


@pytest.mark.parametrize("where", SQUARES, ids=str)
def test_inside_names_the_same_pixels_on_both_sides(where: Square) -> None:
    rows, columns, inner_rows, inner_columns = where.inside(*PHOTO)
    assert rows.stop - rows.start == inner_rows.stop - inner_rows.start > 0
    assert columns.stop - columns.start == inner_columns.stop - inner_columns.start > 0
    assert 0 <= rows.start < rows.stop <= PHOTO[0] and 0 <= columns.start < columns.stop <= PHOTO[1]
    assert 0 <= inner_rows.start < inner_rows.stop <= where.side
    assert rows.start - where.y0 == inner_rows.start and columns.start - where.x0 == inner_columns.start


@pytest.mark.parametrize("where", BEYOND, ids=str)
def test_nothing_is_inside_of_a_square_beyond_the_photo(where: Square) -> None:
    rows, columns, inner_rows, inner_columns = where.inside(*PHOTO)
    part = np.zeros((where.side, where.side))[inner_rows, inner_columns]
    assert np.zeros(PHOTO)[rows, columns].shape == part.shape
    assert part.size == 0


@pytest.mark.parametrize("where", [*SQUARES, *BEYOND], ids=str)
def test_a_cut_repeats_the_edge(where: Square, smooth: Callable[[int, int], UInt8]) -> None:
    photo = smooth(*PHOTO)
    y = np.clip(np.arange(where.y0, where.y0 + where.side), 0, PHOTO[0] - 1)
    x = np.clip(np.arange(where.x0, where.x0 + where.side), 0, PHOTO[1] - 1)
    np.testing.assert_array_equal(align.cut(photo, where), photo[np.ix_(y, x)])


@pytest.mark.parametrize("side", [64, 40, 200, 8], ids=["same", "enlarged", "shrunk", "smallest"])
def test_the_network_sees_floats_from_minus_one_to_one(side: int) -> None:
    crop = np.zeros((side, side, 3), np.uint8)
    crop[..., 0], crop[..., 1] = 255, 51
    inputs = align.to_network(crop, 64)
    assert inputs.shape == (3, 64, 64) and inputs.dtype == np.float32 and inputs.flags.c_contiguous
    for channel, value in enumerate((1, -0.6, -1)):
        np.testing.assert_allclose(inputs[channel], value, atol=1e-6)


@pytest.mark.parametrize("side", [64, 40, 200, 517], ids=["same", "shrunk", "enlarged", "enlarged, odd"])
def test_a_perturbation_keeps_its_bound_on_the_way_to_the_photo(side: int) -> None:
    eps = 0.05
    delta = np.random.default_rng(0).choice([-eps, eps], (3, 64, 64)).astype(np.float32)
    levels = align.to_photo(delta, side)
    assert levels.shape == (side, side, 3) and levels.dtype == np.float32
    assert np.abs(levels).max() <= eps * LEVELS * (1 + 1e-5)


def test_the_edge_fades_and_the_middle_does_not() -> None:
    levels = align.to_photo(np.full((3, 256, 256), 0.05, np.float32), 256)
    edge = round(align.FEATHER * 256) + 1
    np.testing.assert_allclose(levels[edge:-edge, edge:-edge], 0.05 * LEVELS, rtol=1e-5)
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    assert np.abs(border).max() < 0.1  # levels: no seam that rounding would show
    np.testing.assert_allclose(levels, levels[::-1, ::-1], atol=1e-5)


def test_a_perturbation_lands_where_its_crop_was_cut() -> None:
    """A mark at one place of the crop comes back at that place of the photo, to within a pixel of the crop."""
    where = Square(20, 30, 90)
    photo = np.zeros((*PHOTO, 3), np.uint8)
    photo[30 + 60 : 30 + 66, 20 + 30 : 20 + 36] = 255
    inputs = align.to_network(align.cut(photo, where), 45)  # [-1, 1]
    back = align.to_photo((inputs + 1) / 2, where.side)[..., 0]
    y, x = (np.average(np.arange(90), weights=back.sum(axis=axis)) for axis in (1, 0))
    assert (y, x) == pytest.approx((62.5, 32.5), abs=0.5)
