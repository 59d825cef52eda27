"""The yardstick does what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.bench.pillow import PillowPool, save


@pytest.mark.parametrize("name", ["a.jpg", "b.jpg"])
def test_a_jpeg_keeps_its_tables_and_subsampling(folder: Path, tmp_path: Path, name: str) -> None:
    from PIL import JpegImagePlugin

    assert save(folder / name, tmp_path / "again") == 1
    with Image.open(folder / name) as before, Image.open(tmp_path / "again") as after:
        assert after.format == "JPEG"
        assert after.quantization == before.quantization  # type: ignore[attr-defined]
        assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before)


def test_a_png_stays_what_it_is(folder: Path, tmp_path: Path) -> None:
    save(folder / "below" / "c.png", tmp_path / "again")
    with Image.open(folder / "below" / "c.png") as before, Image.open(tmp_path / "again") as after:
        assert after.format == "PNG"
        assert np.array_equal(np.asarray(before), np.asarray(after))


def test_processes_save_every_file(folder: Path, tmp_path: Path) -> None:
    pairs = [(folder / "a.jpg", tmp_path / f"{number}") for number in range(3)]
    with PillowPool(1) as pool:
        assert pool.save_all(pairs) == 3
        assert pool.save_all(pairs[:1]) == 1
    assert all(target.is_file() for _, target in pairs)
