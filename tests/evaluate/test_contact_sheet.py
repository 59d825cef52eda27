from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.evaluate.contact_sheet import GAP, TILE, Column, draw_sheet


def flat(levels: list[int], size: int) -> np.ndarray:
    return np.stack([np.full((3, size, size), level, np.uint8) for level in levels])


@pytest.mark.parametrize(
    ("size", "tile"),
    [
        (32, 96),  # enlarged three times
        (64, 128),  # twice, so as not to be narrower than a tile
        (100, 100),
    ],
)
def test_a_row_a_picture_and_a_column_an_entry(size: int, tile: int) -> None:
    sheet = draw_sheet([Column("one", flat([10, 20], size)), Column("two", flat([30, 40], size))])
    assert sheet.dtype == np.uint8 and tile >= TILE
    height, width, _ = sheet.shape
    assert width == 2 * (tile + GAP) + GAP
    head = height - 2 * (tile + GAP)
    assert head > 2 * GAP
    for column, row, level in ((0, 0, 10), (0, 1, 20), (1, 0, 30), (1, 1, 40)):
        top, left = head + row * (tile + GAP), GAP + column * (tile + GAP)
        assert (sheet[top : top + tile, left : left + tile] == level).all()
        assert (sheet[top : top + tile, left + tile : left + tile + GAP] == 255).all()


def test_headings_stand_over_their_columns_and_long_ones_are_wrapped() -> None:
    pictures = flat([0], 96)
    short = draw_sheet([Column("", pictures), Column("Male", pictures)])
    heads = short[: short.shape[0] - 96 - GAP]
    assert (heads[:, : 96 + GAP] == 255).all() and (heads[:, 96 + 2 * GAP :] < 128).any()
    long = draw_sheet([Column("", pictures), Column("Mouth_Slightly_Open latent 12", pictures)])
    assert long.shape[0] > short.shape[0] and long.shape[1] == short.shape[1]
    assert (long[:, -GAP:] == 255).all()  # nothing runs over the edge


def test_marks_are_drawn_where_there_are_any() -> None:
    pictures = flat([0, 0], 96)
    sheet = draw_sheet([Column("a", pictures, ["+", ""])])
    upper, lower = sheet[-2 * (96 + GAP) : -(96 + GAP)], sheet[-(96 + GAP) :]
    assert (upper[:10, GAP : GAP + 6] == 255).any()
    assert (lower[:96, GAP:-GAP] == 0).all()
