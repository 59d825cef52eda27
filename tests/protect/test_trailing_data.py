"""What a run does with what lies behind the picture in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.jpeg import read_header
from dadfi_fast.images.trailer import find_trailer
from tests.images.test_trailer import motion_photo, pictures

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]


class TestRun:
    """What is written, and what the manifest says."""

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

    @pytest.mark.usefixtures("source")
    def test_dropped_from_another_format(self, run: Run) -> None:
        _, rows = run(format="png")
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
