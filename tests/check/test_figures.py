"""The figures as files: what is drawn, and that all are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="the extra evaluate is not installed")
from matplotlib.figure import Figure

from dadfi_fast.check.conditions import parse
from dadfi_fast.check.figures import draw_distances, draw_spectrum, draw_success, draw_visibility, save, write_figures
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.result import CheckResult
from dadfi_fast.check.visibility import Visibility
from dadfi_fast.errors import DiskError

SIZES = {"fragile": 32, "sturdy": 32}


@pytest.fixture(scope="module")
def checked(put: Callable[..., Pair], check: Callable[..., Any]) -> tuple[CheckResult, Visibility]:
    """Four files, one of them not protected, also blurred."""
    traces = Visibility()
    pairs = [put(f"{i}", level=60 + i, safe=i > 0) for i in range(4)]
    return check(pairs, watchers=[traces], conditions=[parse("blur:31")]), traces


def drawn(draw: Callable[..., None], *arguments: object) -> Any:
    figure = Figure()
    draw(figure, *arguments)
    return figure.axes[0]


def test_success_has_a_bar_for_each_model_and_condition(checked: tuple[CheckResult, Visibility]) -> None:
    axis = drawn(draw_success, checked[0])
    assert [[bar.get_width() for bar in bars] for bars in axis.containers] == [[0.75, 0], [0, 0]]  # fragile, sturdy
    assert [label.get_text() for label in axis.get_yticklabels()] == ["written", "blur:31"]
    assert {"15 of 20", "0 of 20"} == {text.get_text() for text in axis.texts}


def test_the_threshold_is_drawn(checked: tuple[CheckResult, Visibility]) -> None:
    axis = drawn(draw_distances, checked[0])
    (line,) = axis.lines
    assert list(line.get_xdata()) == [0.05, 0.05]
    assert [patch.get_label() for patch in axis.patches] == ["fragile", "sturdy"]


def test_the_spectrum_is_that_of_the_pattern(checked: tuple[CheckResult, Visibility]) -> None:
    axis = drawn(draw_spectrum, checked[1], SIZES)
    brightness, colour, limit = axis.lines
    # The checkerboard of 32 pixels has 16 cycles across and 16 down: 22.6 along its diagonal.
    assert brightness.get_xdata()[np.argmax(brightness.get_ydata())] == 23
    assert max(colour.get_ydata()) < 1e-3
    assert list(limit.get_xdata()) == [16, 16]


def test_visibility_is_the_map(checked: tuple[CheckResult, Visibility]) -> None:
    axis = drawn(draw_visibility, checked[1])
    assert np.array_equal(axis.images[0].get_array(), checked[1].visible)


def test_every_figure_is_written_in_both_forms(checked: tuple[CheckResult, Visibility], tmp_path: Path) -> None:
    paths = write_figures(*checked, tmp_path / "one", sizes=SIZES)
    stems = ("success", "distances", "spectrum", "visibility")
    assert [path.name for path in paths] == [f"{stem}.{form}" for stem in stems for form in ("png", "svg")]
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert min(image.size) > 200
        else:
            assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_the_same_drawing_gives_the_same_files(checked: tuple[CheckResult, Visibility], tmp_path: Path) -> None:
    one, other = (save(lambda figure: draw_visibility(figure, checked[1]), tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_a_folder_that_is_a_file(checked: tuple[CheckResult, Visibility], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="Choose another folder with --figures"):
        write_figures(*checked, tmp_path / "file", sizes=SIZES)
