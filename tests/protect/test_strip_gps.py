"""``--strip-gps`` on photos that are copied: the place goes from wherever it stands, and no pixel changes."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import exif, heif, strip
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.iptc import PREFIX, resources_of
from dadfi_fast.images.jpeg import EXIF, EXTENDED_XMP, XMP, with_metadata
from dadfi_fast.types import Metadata

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]
GPS = b'<x exif:GPSLatitude="51,30N" dc:title="t"/>'
RECORDS = b"\x1c\x02\x5a\x00\x0aSampletown\x1c\x02\x19\x00\x05alpha"


def segment(marker: int, payload: bytes) -> bytes:
    """A marker with its payload."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def extended(packet: bytes) -> list[bytes]:
    """Extended XMP in two parts, the second first."""
    half = len(packet) // 2
    parts = []
    for at, end in ((half, len(packet)), (0, half)):
        parts.append(segment(0xE1, EXTENDED_XMP + b"F" * 32 + struct.pack(">II", len(packet), at) + packet[at:end]))
    return parts


@pytest.fixture
def jpegs(encoded: Make, exif_block: Make) -> dict[str, bytes]:
    """JPEGs that name a place, each in its own way."""
    base, bare = encoded(), exif_block(gps=False)
    resources = resources_of(RECORDS) or b""

    def within(*segments: bytes) -> bytes:
        return base[:20] + b"".join(segments) + base[20:]

    return {
        "EXIF": with_metadata(base, Metadata(exif=exif_block())),
        "a second EXIF": within(segment(0xE1, EXIF + bare), segment(0xE1, EXIF + exif_block())),
        "XMP": with_metadata(base, Metadata(xmp=GPS)),
        "a second XMP": within(segment(0xE1, XMP + b"<x/>"), segment(0xE1, XMP + GPS)),
        "extended XMP": within(segment(0xE1, XMP + b'<x xmpNote:HasExtendedXMP="FF"/>'), *extended(GPS)),
        "IPTC": within(segment(0xED, PREFIX + resources)),
        "IPTC in two segments": within(segment(0xED, PREFIX + resources[:20]), segment(0xED, PREFIX + resources[20:])),
        "EXIF in Photoshop's resources": within(
            segment(0xED, PREFIX + b"8BIM\x04\x22\0\0" + struct.pack(">I", len(exif_block())) + exif_block())
        ),
    }


WAYS = ["EXIF", "a second EXIF", "XMP", "a second XMP", "extended XMP", "IPTC", "IPTC in two segments",
        "EXIF in Photoshop's resources"]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg(jpegs: dict[str, bytes], photos: Fill, run: Run, nobody: Any, tmp_path: Path, way: str) -> None:
    assert strip.still_names_place(jpegs[way])
    photos({"a.jpg": jpegs[way]})
    _, rows = run(detector=nobody, strip_gps=True)
    copy = (tmp_path / "out" / "a.jpg").read_bytes()
    assert rows["a.jpg"]["status"] == "copied" and not strip.still_names_place(copy)
    assert b"51,30" not in copy and b"Sampletown" not in copy and struct.pack("<6I", 51, 1, 30, 1, 12, 1) not in copy
    scan = jpegs[way].index(b"\xff\xdb")
    assert copy.endswith(jpegs[way][scan:])


@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_with_a_face(jpegs: dict[str, bytes], photos: Fill, run: Run, tmp_path: Path, way: str) -> None:
    photos({"a.jpg": jpegs[way]})
    run(strip_gps=True)
    assert not strip.still_names_place((tmp_path / "out" / "a.jpg").read_bytes())


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "HEIF", "TIFF", "JPEG2000"])
def test_other_formats(
    encoded: Make, exif_block: Make, photos: Fill, run: Run, nobody: Any, tmp_path: Path, form: str
) -> None:
    heif.register()
    said = {"exif": exif_block(turn=None), "xmp": GPS} if form != "TIFF" else {"exif": _pillow(exif_block(turn=None))}
    data = encoded(form, size=(72, 104), **said)
    photos({"a": data})
    run(detector=nobody, strip_gps=True)
    copy = (tmp_path / "out" / "a").read_bytes()
    assert not strip.still_names_place(copy) and b"51,30" not in copy
    before, after = (decode(open_picture(each, max_pixels=10**6), Path("a")) for each in (data, copy))
    assert np.array_equal(before.pixels, after.pixels)


def _pillow(block: bytes) -> Image.Exif:
    tags = Image.Exif()
    tags.load(b"Exif\0\0" + block)
    return tags


def test_what_names_no_place_is_copied_as_it_is(
    encoded: Make, photos: Fill, run: Run, nobody: Any, tmp_path: Path
) -> None:
    data = {"a.jpg": encoded(), "a.png": encoded("PNG"), "a.webp": encoded("WEBP")}
    photos(dict(data))
    run(detector=nobody, strip_gps=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in data} == data


def test_a_place_that_is_left_fails_the_photo(
    jpegs: dict[str, bytes], photos: Fill, run: Run, nobody: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strip, "without_place", lambda data, form, metadata: data + b"")
    monkeypatch.setattr(strip, "still_names_place", lambda data: True)
    photos({"a.jpg": jpegs["EXIF"]})
    _, rows = run(strip_gps=True)
    assert "still states where it was taken" in rows["a.jpg"]["error"]["message"]
    assert not (tmp_path / "out" / "a.jpg").exists()


def test_orientation_of_a_copy_stays(jpegs: dict[str, bytes]) -> None:
    copy = strip.without_place(jpegs["EXIF"], "JPEG", Metadata())
    assert copy is not None and exif.orientation(open_picture(copy, max_pixels=10**6).metadata.exif) == 6
    with Image.open(io.BytesIO(copy)) as image:
        image.load()


def test_a_file_that_is_not_a_picture_names_none() -> None:
    assert not strip.still_names_place(b"nothing")
    with pytest.raises(PhotoError):
        strip.still_names_place(b"\xff\xd8\xff\xd9")
