"""The photos that a benchmark runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from dadfi_fast.bench.photos import gather
from dadfi_fast.errors import NothingToDo


def test_pictures_are_repeated_and_the_rest_is_passed_over(folder: Path, tmp_path: Path) -> None:
    photos = gather(folder, tmp_path / "in", count=7)
    assert sorted(photos.folder.iterdir()) == list(photos.files)
    assert (len(photos.files), photos.distinct, photos.formats) == (7, 3, ("JPEG", "PNG"))
    assert photos.megapixels == pytest.approx((48 * 64 + 64 * 64 + 40 * 40) / 3e6)
    contents = [path.read_bytes() for path in photos.files]
    assert contents[:3] == [(folder / name).read_bytes() for name in ("a.jpg", "b.jpg", "below/c.png")]
    assert contents[3:6] == contents[:3]


def test_no_more_than_are_wanted(folder: Path, tmp_path: Path) -> None:
    photos = gather(folder, tmp_path / "in", count=2)
    assert (len(photos.files), photos.distinct, photos.formats) == (2, 2, ("JPEG",))


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(NothingToDo, match="no photo in"):
        gather(tmp_path / "photos", tmp_path / "in", count=2)
