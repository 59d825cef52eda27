"""What a run does with what lies behind the picture in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.errors import UsageError
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.jpeg import read_header, with_metadata
from dadfi_fast.images.trailer import find_trailer
from dadfi_fast.types import Metadata
from tests.images.test_trailer import found, motion_photo, pictures

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]


class TestRun:
    """``--trailer``."""

    @pytest.fixture
    def source(self, photos: Fill, encoded: Make) -> Path:
        return photos({"film.jpg": motion_photo(encoded()), "more.jpg": pictures(encoded(), encoded()), "a.jpg": None})

    @pytest.mark.usefixtures("source")
    def test_dropped_and_said_so(self, run: Run, tmp_path: Path) -> None:
        _, rows = run()
        assert rows["film.jpg"]["reason"] == "dropped trailing video (0.0 MB)"
        assert rows["more.jpg"]["reason"] == "dropped trailing image (0.0 MB)"
        assert rows["a.jpg"]["reason"] is None
        film = (tmp_path / "out" / "film.jpg").read_bytes()
        assert find_trailer(film) is None and b"ftyp" not in film
        packet = read_header(film).metadata.xmp or b""
        assert b"MotionPhoto" not in packet and b"Directory" not in packet and b'dc:rights="mine"' in packet

    def test_kept_and_said_so(self, run: Run, source: Path, tmp_path: Path) -> None:
        _, rows = run(trailer="keep", verify=1.0)
        assert rows["film.jpg"]["reason"] == "kept trailing video (0.0 MB)"
        for name in ("film.jpg", "more.jpg"):
            before, after = (found((folder / name).read_bytes()) for folder in (source, tmp_path / "out"))
            assert after.data == before.data and rows[name]["linf"] == 6
        assert b'GCamera:MotionPhoto="1"' in (tmp_path / "out" / "film.jpg").read_bytes()
        with Image.open(tmp_path / "out" / "more.jpg") as image:
            image.seek(1)
            assert np.asarray(image).shape == (48, 64, 3)

    @pytest.mark.usefixtures("source")
    def test_another_format_has_no_room_for_it(self, run: Run) -> None:
        _, rows = run(trailer="keep", format="png")
        assert rows["film.jpg"]["reason"] == "dropped trailing video (0.0 MB)"

    def test_a_copy_is_the_same_bytes(self, run: Run, source: Path, nobody: Any, tmp_path: Path) -> None:
        _, rows = run(detector=nobody)
        assert (tmp_path / "out" / "film.jpg").read_bytes() == (source / "film.jpg").read_bytes()
        assert rows["film.jpg"]["reason"] == "no face found"

    @pytest.mark.usefixtures("source")
    def test_places_go_from_copies_with_what_may_hold_them(self, run: Run, nobody: Any, tmp_path: Path) -> None:
        _, rows = run(detector=nobody, strip_gps=True)
        written = (tmp_path / "out" / "film.jpg").read_bytes()
        assert find_trailer(written) is None
        assert rows["film.jpg"]["reason"] == "no face found; dropped trailing video (0.0 MB)"
        assert decode(open_picture(written, max_pixels=10**6), Path("x")).pixels.shape == (48, 64, 3)

    def test_keeping_films_and_dropping_places_is_a_contradiction(self, run: Run) -> None:
        with pytest.raises(UsageError, match="--trailer keep and --strip-gps"):
            run(trailer="keep", strip_gps=True)


@pytest.mark.parametrize(("turn", "kept"), [(1, True), (6, False)])
def test_pictures_behind_a_photo_that_is_turned_would_lie_across(
    photos: Fill, run: Run, encoded: Make, exif_block: Make, turn: int, kept: bool
) -> None:
    first = with_metadata(encoded(), Metadata(exif=exif_block(turn=turn)))
    photos({"a.jpg": pictures(first, encoded(size=(24, 32)))})
    _, rows = run(trailer="keep")
    assert rows["a.jpg"]["reason"].startswith("kept" if kept else "dropped")
