from __future__ import annotations

import math

import pytest

from dadfi_fast.evaluate.heat_map import HeatMap, heat_maps

VALUES = [[0.0, 0.25, math.nan], [0.5, 1.0, 0.125]]


def test_squares_with_their_values() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    marked = [[True, False, True], [False, False, False]]
    shown = [HeatMap("a", VALUES, 1), HeatMap("b", VALUES)]
    heat_maps(figure, shown, rows=["one", "two"], columns=["x", "y", "z"], marked=marked, mark="framed")
    first, second = figure.axes
    assert [text.get_text() for text in first.texts] == ["0", "0.25", "0.5", "1", "0.12"]  # nothing for NaN
    assert len(first.patches) == len(second.patches) == 2
    assert [text.get_color() for text in first.texts] == ["black"] * 3 + ["white", "black"]  # on a dark square
    assert figure.legends


def test_without_marks_there_is_no_legend() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    heat_maps(figure, [HeatMap("a", [[0.0]])], rows=["r"], columns=["c"], marked=[[False]], mark="framed")
    assert not figure.legends and not figure.axes[0].patches
