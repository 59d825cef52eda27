"""Whole photos, with a detector that finds two faces in a photo and none in dark ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("flip_evaluator")

from dadfi_fast.check.preprocess import read
from dadfi_fast.errors import NothingToDo
from dadfi_fast.evaluate import protocol, whole_photo
from dadfi_fast.evaluate.experiment import NAMED, Result
from dadfi_fast.faces.shrink import Pyramid
from dadfi_fast.types import Face, UInt8

MakeSetup = Callable[..., Any]


class TwoFaces:
    """Finds a face in the left and in the right half of what is not too dark."""

    name = "two"

    def __call__(self, pixels: UInt8) -> list[Face]:
        return self.search(*pixels.shape[:2], Pyramid(pixels))

    def search(self, height: int, width: int, small: Callable[[int, int], UInt8]) -> list[Face]:
        return [Face(20, 20, 41, 40, 1.0), Face(80, 20, 101, 40, 1.0)] if small(width, height).mean() > 50 else []

    def faces_from(self, faces: list[Face], height: int, width: int) -> None:
        """No size is too small for it."""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two bright photos and a dark one, as JPEG."""
    monkeypatch.setattr(protocol, "choose_detector", lambda name, model, small_faces: (TwoFaces(), "a test"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for level in (20, 90, 160):
        picture = Image.fromarray(np.full((64, 128, 3), level, np.uint8))
        picture.save(folder / f"{level}.jpg", quality=97, subsampling="4:4:4")
    return folder


@pytest.fixture
def result(make_setup: MakeSetup, photos: Path, once: Callable[..., Result]) -> Result:
    return once(lambda: whole_photo.run(make_setup(sources=(photos,), models=("fragile",))))


def by_row(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["method"], row["condition"]): dict(row) for row in result.rows}


def test_photos_without_a_face_are_left_out(result: Result) -> None:
    for row in result.rows:
        assert set(NAMED) <= set(row) and row["n"] == 3
        assert row["n_written"] == 2


def test_protection_and_what_it_looks_like(result: Result) -> None:
    rows = by_row(result)
    row, null = rows["stripes", "written"], rows["null", "written"]
    assert row["sr_mask"] > 0.3 and null["sr_mask"] == 0 and null["d_mask"] < 0.1 * row["d_mask"]
    assert 0 < rows["noise", "written"]["d_mask"] < row["d_mask"]
    assert 25 < row["psnr"] < 50 and 0.5 < row["ssim"] < 1 and 0 < row["flip"] < 0.3
    assert 5 <= row["linf"] <= 12  # and a little of the codec
    assert null["flip"] < 0.1 * row["flip"] and null["linf"] <= 2  # the codec alone
    noise = rows["noise", "written"]
    assert noise["linf"] == 6 and 35 < noise["psnr"] < 39 and noise["flip"] > 2 * null["flip"]


def test_the_format_is_kept(make_setup: MakeSetup, photos: Path) -> None:
    setup = make_setup(sources=(photos,))
    with protocol.open_protocol(setup) as opened, opened.written(opened.unchanged(), whole_photo.AS_PROTECT) as pairs:
        assert [pair.protected.suffix for pair in pairs] == [".jpg", ".jpg"]
        assert all(read(pair.protected).shape == (64, 128, 3) for pair in pairs)


def test_no_face_at_all(make_setup: MakeSetup, photos: Path) -> None:
    for level in (90, 160):
        (photos / f"{level}.jpg").unlink()
    with pytest.raises(NothingToDo):
        whole_photo.run(make_setup(sources=(photos,)))


def test_the_table_shows_everything(result: Result) -> None:
    cells = list(result.cells())
    assert all(len(line) == len(result.columns) for line in cells)
    assert None not in cells[0] and None not in cells[-1]  # a generator, and noise
