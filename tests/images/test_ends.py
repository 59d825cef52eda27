"""Where the picture in a large file ends, whatever stands behind it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.images import ends
from dadfi_fast.images.ends import picture_end


def picture(form: str, **options: Any) -> bytes:
    """Noise, so that its data are full of what may be taken for markers."""
    noise = np.random.default_rng(3).integers(0, 255, (61, 83, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, form, **options)
    return buffer.getvalue()


PICTURES = {
    "JPEG": picture("JPEG"),
    "JPEG, progressive": picture("JPEG", progressive=True),
    "JPEG, with restarts": picture("JPEG", restart_marker_rows=1),
    "PNG": picture("PNG"),
    "WEBP": picture("WEBP", lossless=True),
    "WEBP, lossy": picture("WEBP"),
}


def end(name: str, data: bytes) -> int:
    return picture_end(io.BytesIO(data), name.split(",")[0], len(data))


@pytest.mark.parametrize("behind", [b"", b"x", b"\xff\xd9" * 3, PICTURES["JPEG"], bytes(70_000)], ids=repr)
@pytest.mark.parametrize("name", PICTURES)
def test_it_ends_where_it_does(name: str, behind: bytes) -> None:
    assert end(name, PICTURES[name] + behind) == len(PICTURES[name])


@pytest.mark.parametrize("first", range(1, 40))
def test_a_jpeg_is_searched_in_pieces(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the pieces end, in a marker or in a length."""
    data = PICTURES["JPEG, progressive"]
    monkeypatch.setattr(ends, "_FIRST", len(data) - first)
    assert end("JPEG", data + b"\xff" + bytes(9000)) == len(data)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_what_has_no_end_is_taken_whole(name: str) -> None:
    for data in (PICTURES[name][:-20], PICTURES[name][:12] + b"\xff" * 40):
        assert end(name, data) == len(data)


def test_other_formats_are_taken_whole() -> None:
    data = picture("TIFF") + b"behind"
    assert end("TIFF", data) == len(data)


def test_chunks_without_end_are_not_followed_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "_CHUNKS", 10)
    data = PICTURES["PNG"][:33] + (bytes(4) + b"tEXt" + bytes(4)) * 20 + PICTURES["PNG"][33:]
    assert end("PNG", data + b"behind") == len(data) + 6
