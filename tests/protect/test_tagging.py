"""The tag in what a run writes, and what a run does with a photo that has it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.images.decode import open_picture
from dadfi_fast.images.jpeg import XMP_ROOM, with_metadata
from dadfi_fast.images.tag import ALREADY, NAMESPACE, is_tagged
from dadfi_fast.types import Metadata
from tests.images.test_tag import LIGHTROOM

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]


FORMATS = [
    ("a.jpg", "JPEG", "RGB"),
    ("a.png", "PNG", "RGBA"),
    ("a.webp", "WEBP", "RGB"),
    ("a.tif", "TIFF", "RGB"),
    ("a.avif", "AVIF", "RGB"),
]


@pytest.mark.parametrize(("name", "form", "mode"), FORMATS, ids=[form for _, form, _ in FORMATS])
def test_protecting_a_protected_file_is_noticed(
    photos: Fill, run: Run, encoded: Make, tmp_path: Path, name: str, form: str, mode: str
) -> None:
    photos({name: encoded(form, mode)})
    run()
    once = tmp_path / "out" / name
    assert is_tagged(open_picture(once.read_bytes(), max_pixels=10**6).metadata.xmp)
    summary, rows = run(tmp_path / "out", out=tmp_path / "second")
    assert (summary.written, summary.skipped, summary.already, summary.failed) == (0, 1, 1, 0)
    assert (rows[name]["status"], rows[name]["reason"], rows[name]["target"]) == ("skipped", ALREADY, None)
    assert not (tmp_path / "second" / name).exists()
    done, _ = run(tmp_path / "out", out=tmp_path / "second")
    assert done.done == 1 and done.skipped == 0  # which need not be found out again
    again, rows = run(tmp_path / "out", out=tmp_path / "second", again=True)
    assert again.written == 1 and rows[name]["status"] == "written"
    packet = open_picture((tmp_path / "second" / name).read_bytes(), max_pixels=10**6).metadata.xmp
    assert packet is not None and packet.count(NAMESPACE) == 1


def test_deep_pictures_are_marked_too(photos: Fill, run: Run, tmp_path: Path) -> None:
    import cv2

    stored = np.random.default_rng(0).integers(0, 2**16, (40, 50, 3), dtype=np.uint16)
    photos({name: cv2.imencode(name[1:], stored)[1].tobytes() for name in ("a.png", "a.tiff")})
    run()
    summary, _ = run(tmp_path / "out", out=tmp_path / "second")
    assert summary.already == 2


def test_a_photo_without_a_face_is_not_marked(photos: Fill, run: Run, nobody: Any, tmp_path: Path) -> None:
    photos({"a.jpg": None, "b.gif": None})
    run(detector=nobody)
    summary, _ = run(tmp_path / "out", out=tmp_path / "second")
    assert (summary.written, summary.already) == (2, 0)


def test_no_mark_where_none_is_wanted(photos: Fill, run: Run, encoded: Make, tmp_path: Path) -> None:
    photos({"a.jpg": None})
    run(mark=False)
    assert open_picture((tmp_path / "out" / "a.jpg").read_bytes(), max_pixels=10**6).metadata.xmp is None


def test_a_packet_that_fills_its_segment_does_not_stop_the_photo(
    photos: Fill, run: Run, encoded: Make, tmp_path: Path
) -> None:
    full = LIGHTROOM.replace(b" " * 200, b" " * (XMP_ROOM - len(LIGHTROOM) + 200))
    photos({"a.jpg": with_metadata(encoded(), Metadata(xmp=full))})
    summary, _ = run()
    assert summary.written == 1
    with Image.open(io.BytesIO((tmp_path / "out" / "a.jpg").read_bytes())) as image:
        assert image.info["xmp"] == full
