"""Blending: every budget holds, for any face anywhere, alone or on top of another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dadfi_fast.faces.align import Square, cut, to_network, to_photo
from dadfi_fast.faces.shrink import Pyramid
from dadfi_fast.protect.blend import blend, limit
from dadfi_fast.protect.crop import crops, squares
from dadfi_fast.types import LEVELS, Budget, Encoding, Face, Float32, Photo, UInt8, UInt16


def photo(height: int, width: int, *, seed: int = 0, mode: str = "RGB", deep: bool = False) -> Photo:
    """Noise, black and white included."""
    rng = np.random.default_rng(seed)
    wide: UInt16 = rng.integers(0, 2**16, (height, width, 3), dtype=np.uint16)
    wide[: height // 3] = rng.choice(np.array([0, 2**16 - 1], np.uint16), wide[: height // 3].shape)
    if mode in ("L", "LA", "I;16"):
        wide = np.repeat(wide[..., :1], 3, axis=2)
    return Photo(Path("x"), (wide >> 8).astype(np.uint8), Encoding("PNG", mode), deep=wide if deep else None)


def plain(pixels: UInt8, where: Square, delta: Float32) -> Float32:
    """The sum in float32, before it is rounded: what blending in fixed point is compared with."""
    rows, columns, inner_rows, inner_columns = where.inside(*pixels.shape[:2])
    exact = pixels.astype(np.float32)
    exact[rows, columns] += to_photo(delta, where.side)[inner_rows, inner_columns]
    return np.clip(exact, 0, 255)


BOX = st.tuples(st.floats(-0.2, 0.9), st.floats(-0.2, 0.9), st.floats(0.02, 1.2))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    boxes=st.lists(BOX, min_size=1, max_size=4),
    eps=st.floats(0.01, 0.1),
    mode=st.sampled_from(["RGB", "L"]),
    deep=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_budget_is_never_exceeded(
    size: tuple[int, int],
    boxes: list[tuple[float, float, float]],
    eps: float,
    mode: str,
    deep: bool,
    seed: int,
) -> None:
    height, width = size
    budget, source = Budget(eps), photo(height, width, seed=seed, mode=mode, deep=deep)
    before = source.pixels.copy()
    wide = None if source.deep is None else source.deep.copy()
    side = max(size)
    faces = [Face(x * width, y * height, x * width + s * side, y * height + s * side, 1.0) for x, y, s in boxes]
    where = squares(faces)
    sign = np.random.default_rng(seed).choice([-1, 1], (len(faces), 3, 16, 16))
    result = blend(source, faces, where, (eps * sign).astype(np.float32), budget)
    change = np.abs(result.pixels.astype(int) - before)
    assert change.max() <= limit(budget) <= budget.levels + 0.5
    assert result.linf == change.max()
    if mode == "L":
        assert (result.pixels == result.pixels[..., :1]).all()
    if wide is not None and result.deep is not None:
        assert np.array_equal(result.deep >> 8, result.pixels)
        assert np.array_equal(result.deep & 255, wide & 255)


def test_the_whole_budget_is_used() -> None:
    source = photo(100, 100)
    source.pixels[:] = 128
    budget = Budget(0.05)
    face = Face(30, 30, 70, 70, 1.0)
    result = blend(source, [face], squares([face]), np.full((1, 3, 32, 32), budget.eps, np.float32), budget)
    assert result.linf == 6 and result.pixels[50, 50].tolist() == [134, 134, 134]
    assert result.pixels[0, 0].tolist() == [128, 128, 128]  # outside of the square
    assert result.pixels is source.pixels


@settings(max_examples=40, deadline=None)
@given(
    box=BOX,
    eps=st.floats(0.01, 0.1),
    size=st.sampled_from([16, 64, 256]),  # of the crop: squares are larger and smaller than it
    seed=st.integers(0, 99),
)
def test_fixed_point_is_float_but_for_halves(box: tuple[float, float, float], eps: float, size: int, seed: int) -> None:
    source, share = photo(150, 130, seed=seed), box[2]
    before, x, y = source.pixels.copy(), box[0] * 130, box[1] * 150
    face = Face(x, y, x + share * 150, y + share * 150, 1.0)
    delta = np.random.default_rng(seed).uniform(-eps, eps, (1, 3, size, size)).astype(np.float32)
    exact = plain(before, squares([face])[0], delta[0])
    result = blend(source, [face], squares([face]), delta, Budget(eps)).pixels
    # Two roundings by half a step of fixed point each, and the 11 bits that OpenCV gives to weights.
    assert np.abs(result - exact).max() <= 0.5 + 1.6 / (127 / (eps * LEVELS) - 2)


def test_fixed_point_costs_no_quality() -> None:
    source, face = photo(300, 300), Face(60, 60, 240, 240, 1.0)
    source.pixels[:] = source.pixels // 2 + 64
    before, budget = source.pixels.copy(), Budget(0.05)
    delta = np.random.default_rng(1).uniform(-0.05, 0.05, (1, 3, 64, 64)).astype(np.float32)
    exact = np.rint(plain(before, squares([face])[0], delta[0])).astype(np.uint8)
    result = blend(source, [face], squares([face]), delta, budget).pixels
    assert (result != exact).mean() < 0.03
    assert cv2.PSNR(result, before) == pytest.approx(cv2.PSNR(exact, before), abs=0.01)


@pytest.mark.parametrize("half", [1.5, 6.5, 12.5])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("below", [1e-5, 1e-6, 1e-7])  # in float32 the sum with a pixel may round to the half itself
def test_a_bound_just_below_a_half_is_kept(half: float, sign: int, below: float) -> None:
    source, budget, face = photo(64, 64), Budget((half - below) / LEVELS), Face(8, 8, 56, 56, 1.0)
    before = source.pixels.copy()
    delta = np.full((1, 3, 32, 32), sign * budget.eps, np.float32)
    result = blend(source, [face], squares([face]), delta, budget)
    assert result.linf == np.abs(result.pixels.astype(int) - before).max() == limit(budget) == int(half)


def test_where_squares_overlap_the_sum_is_bounded() -> None:
    source = photo(100, 100)
    source.pixels[:] = 128
    budget = Budget(0.05)
    faces = [Face(30, 30, 60, 60, 1.0), Face(40, 30, 70, 60, 1.0)]
    result = blend(source, faces, squares(faces), np.full((2, 3, 32, 32), budget.eps, np.float32), budget)
    assert result.linf == 6 and result.pixels[45, 50].tolist() == [134, 134, 134]


@pytest.mark.parametrize("pixels", [None, 255])  # noise; white, which changes by less than there could be
def test_strips_added_in_place_are_as_others(monkeypatch: pytest.MonkeyPatch, pixels: int | None) -> None:
    source, budget, face = photo(90, 70), Budget(0.05), Face(10, 10, 60, 60, 1.0)
    if pixels is not None:
        source.pixels[:45] = pixels
    delta = np.random.default_rng(2).uniform(0, 0.05, (1, 3, 32, 32)).astype(np.float32)
    before = source.pixels.copy()
    whole = blend(source, [face], squares([face]), delta, budget)
    after = whole.pixels.copy()
    source.pixels[:] = before
    monkeypatch.setattr("dadfi_fast.protect.blend._STRIP", 700)  # three rows
    strips = blend(source, [face], squares([face]), delta, budget)
    assert (
        np.array_equal(strips.pixels, after) and strips.linf == whole.linf == np.abs(after - before.astype(int)).max()
    )


def test_no_face_changes_nothing() -> None:
    source = photo(20, 20)
    before = source.pixels.copy()
    result = blend(source, [], (), np.empty((0, 3, 16, 16), np.float32), Budget())
    assert np.array_equal(result.pixels, before) and result.linf == 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 300), (300, 8), (40, 40)])
def test_crops_of_any_photo(height: int, width: int) -> None:
    faces = [Face(0, 0, width, height, 1.0), Face(width - 1, height - 1, width, height, 1.0)]
    result: Float32 = crops(photo(height, width).pixels, squares(faces), size=256)
    assert result.shape == (2, 3, 256, 256) and result.dtype == np.float32
    assert result.min() >= -1 and result.max() <= 1


@pytest.mark.parametrize(
    "face", [Face(60, 40, 460, 440, 1.0), Face(61, 43, 462, 441, 1.0), Face(-90, -60, 310, 340, 1.0)]
)
@pytest.mark.parametrize("size", [(700, 601), (701, 600)])
def test_large_crops_are_cut_out_of_the_half(
    smooth: Callable[[int, int], UInt8], face: Face, size: tuple[int, int]
) -> None:
    pixels, where = smooth(*size), squares([face])
    pyramid = Pyramid(pixels)
    small = crops(pyramid, where, size=64)
    whole = to_network(cut(pixels, where[0]), 64)
    # a pixel more or less is 5 levels in these pictures, and more where an edge pixel is repeated
    assert np.abs(small[0] - whole).mean() * LEVELS < 5
    assert np.array_equal(small, crops(pixels, where, size=64))


def test_a_thin_photo_is_not_halved_to_nothing() -> None:
    pixels = np.full((3, 1200, 3), 90, np.uint8)
    result = crops(pixels, squares([Face(0, 0, 1200, 3, 1.0)]), size=64)
    assert np.allclose(result, 90 / LEVELS - 1)


def test_small_crops_are_cut_out_of_the_photo_itself() -> None:
    pixels, where = photo(400, 400).pixels, squares([Face(50, 70, 200, 200, 1.0)])
    assert np.array_equal(crops(pixels, where, size=64)[0], to_network(cut(pixels, where[0]), 64))
