"""``--chroma``: whether colour is subsampled in a result, and what a run says of small faces that lose by it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from dadfi_fast.protect.config import SMALL_CROP
from tests.protect.conftest import Boxes

Encoded = Callable[..., bytes]
FULL, QUARTER = 0, 2  # Pillow's numbers of 4:4:4 and 4:2:0
TWINS = Boxes((0.2, 0.2, 0.8, 0.8), (0.25, 0.2, 0.85, 0.8))


@pytest.fixture
def pictures(photos: Any, encoded: Encoded) -> Path:
    """Two JPEGs of 4:2:0: in one of them the crop of the face is small, in the other it is not."""
    small, large = (
        encoded(size=(side, side), quality=90, subsampling="4:2:0") for side in (SMALL_CROP // 4, 3 * SMALL_CROP)
    )
    folder: Path = photos({"small.jpg": small, "large.jpg": large})
    return folder


@pytest.mark.parametrize(
    ("chroma", "small", "large", "weakened"),
    [("keep", QUARTER, QUARTER, 1), ("auto", FULL, QUARTER, 0), ("full", FULL, FULL, 0)],
)
def test_subsampling(
    pictures: Path, run: Any, tmp_path: Path, chroma: str, small: int, large: int, weakened: int
) -> None:
    summary, _ = run(chroma=chroma)
    for name, sampling in (("small", small), ("large", large)):
        with Image.open(pictures / f"{name}.jpg") as before, Image.open(tmp_path / "out" / f"{name}.jpg") as after:
            assert JpegImagePlugin.get_sampling(before) == QUARTER
            assert JpegImagePlugin.get_sampling(after) == sampling
            assert before.quantization == after.quantization  # type: ignore[attr-defined]
    assert summary.weakened == weakened


@pytest.mark.parametrize(
    ("options", "progressive", "small"),
    [
        pytest.param({}, False, False, id="its blocks hold it"),
        pytest.param({}, True, True, id="progressive: encoded from pixels"),
        pytest.param({"quality": 90}, False, True, id="another quality: encoded from pixels"),
        pytest.param({"detector": TWINS}, False, True, id="overlapping faces: encoded from pixels"),
    ],
)
def test_what_counts_as_small(
    photos: Any, run: Any, tmp_path: Path, options: dict[str, Any], progressive: bool, small: bool
) -> None:
    pixels = np.random.default_rng(0).integers(60, 190, (48, 48, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((450, 450))
    picture.save(buffer := io.BytesIO(), "JPEG", quality=90, subsampling="4:2:0", progressive=progressive)
    photos({"a.jpg": buffer.getvalue()})
    options = {"detector": Boxes((0.2, 0.2, 0.8, 0.8)), **options}
    assert run(chroma="keep", **options)[0].weakened == small
    run(chroma="auto", on_exists="overwrite", **options)
    with Image.open(tmp_path / "out" / "a.jpg") as after:
        assert JpegImagePlugin.get_sampling(after) == (FULL if small else QUARTER)


def test_nothing_is_weakened_in_a_png(pictures: Path, run: Any) -> None:
    summary, _ = run(format="png")
    assert (summary.written, summary.weakened) == (2, 0)


def test_grey_stays_grey(photos: Any, run: Any, encoded: Encoded, tmp_path: Path) -> None:
    photos({"grey.jpg": encoded(mode="L", size=(64, 64))})
    summary, _ = run(chroma="full")
    with Image.open(tmp_path / "out" / "grey.jpg") as after:
        assert (after.mode, summary.weakened) == ("L", 0)


def test_another_chroma_is_another_result(photos: Any, run: Any) -> None:
    photos({"a.jpg": None})
    assert run()[0].written == 1
    assert run(chroma="full")[0].changed == 1
    assert run(chroma="full", on_exists="overwrite")[0].written == 1
