"""What phones put behind a JPEG: found and told."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dadfi_fast.images.jpeg import APP2, with_metadata
from dadfi_fast.images.trailer import INDEX, Trailer, find_trailer
from dadfi_fast.types import Metadata

Make = Callable[..., bytes]

FILM = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 8
MOTION = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="r"><rdf:Description rdf:about="" dc:rights="mine" '
    b'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"><Container:Directory><rdf:Seq><rdf:li/></rdf:Seq>'
    b"</Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def motion_photo(picture: bytes) -> bytes:
    """As Google's phones write it."""
    return with_metadata(picture, Metadata(xmp=MOTION)) + FILM


def pictures(first: bytes, *others: bytes, order: str = "<") -> bytes:
    """Several JPEGs in one file, with their index (CIPA DC-007)."""
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    count = 1 + len(others)
    fields = struct.pack(order + "HHI4s", 0xB000, 7, 4, b"0100")
    fields += struct.pack(order + "HHII", 0xB001, 4, 1, count)
    table_at = 8 + 2 + 36 + 4
    fields += struct.pack(order + "HHII", 0xB002, 7, 16 * count, table_at)
    lead = header + struct.pack(order + "H", 3) + fields + bytes(4)
    length = 2 + len(INDEX) + len(lead) + 16 * count
    at = 20  # behind SOI and JFIF
    base, size = at + 4 + len(INDEX), len(first) + 2 + length
    table, offset = struct.pack(order + "IIIHH", 0x20030000, size, 0, 0, 0), size - base
    for other in others:
        table += struct.pack(order + "IIIHH", 0, len(other), offset, 0, 0)
        offset += len(other)
    segment = struct.pack(">BBH", 0xFF, APP2, length) + INDEX + lead + table
    return first[:at] + segment + first[at:] + b"".join(others)


def trailer_of(data: bytes) -> Trailer:
    """What is behind the picture; there must be something."""
    trailer = find_trailer(data)
    assert trailer is not None
    return trailer


def test_a_film(encoded: Make) -> None:
    picture = encoded()
    trailer = trailer_of(motion_photo(picture))
    assert trailer.data == FILM and trailer.what == "video (0.0 MB)"
    assert trailer_of(picture + FILM).data == FILM  # also where nothing announces it


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_further_pictures(encoded: Make, order: str) -> None:
    first, *others = (encoded(size=(20 + n, 30)) for n in range(3))
    data = pictures(first, *others, order=order)
    assert trailer_of(data).data == b"".join(others)
    assert trailer_of(data).what == "2 images (0.0 MB)"
    with Image.open(io.BytesIO(data)) as image:  # Pillow reads our test file as we do
        assert image.n_frames == 3  # type: ignore[attr-defined]


def test_a_film_behind_further_pictures(encoded: Make) -> None:
    assert trailer_of(pictures(encoded(), encoded()) + FILM).what == "video and image (0.0 MB)"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}], ids=str)
def test_the_end_is_that_of_the_last_scan(encoded: Make, options: dict[str, Any]) -> None:
    picture = encoded(size=(80, 90), **options)
    assert trailer_of(picture + b"more").offset == len(picture)


@pytest.mark.parametrize("padding", [b"", b"\0" * 9, b"\0" * 500, b"\xff" * 70, b"\r\n"])
def test_padding_is_none(encoded: Make, padding: bytes) -> None:
    assert find_trailer(encoded() + padding) is None


def test_an_end_within_a_table_is_none(encoded: Make) -> None:
    """The bytes of an end may stand in a segment between two scans, whose length says where it ends."""
    picture = encoded(progressive=True)
    scan = picture.rindex(b"\xff\xda")
    comment = struct.pack(">BBH", 0xFF, 0xFE, 6) + b"\xff\xd9\xff\xd9"
    data = picture[:scan] + comment + picture[scan:]
    assert trailer_of(data + FILM).offset == len(data)


def test_an_index_that_promises_too_much_is_not_believed(encoded: Make) -> None:
    data = pictures(encoded(), encoded())
    at = data.index(struct.pack("<HHI", 0xB002, 7, 32)) + 4
    trailer = trailer_of(data[:at] + b"\xff" * 4 + data[at + 4 :])  # four thousand million bytes of entries
    assert trailer.what == "image (0.0 MB)"


@settings(deadline=None)
@given(noise=st.binary(max_size=300), at=st.integers(0, 3000))
def test_any_bytes_are_survived(noise: bytes, at: int) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), "teal").save(buffer, "JPEG")
    data = pictures(buffer.getvalue(), buffer.getvalue(), FILM)
    trailer = find_trailer(data[:at] + noise + data[at + len(noise) :])
    if trailer is not None:
        assert trailer.what.endswith(" MB)") and trailer.data
