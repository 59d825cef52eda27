"""JPEG segments: the header as Pillow reads it, and metadata that arrive as the bytes they were."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.jpeg import read_header, with_metadata, without_gps
from dadfi_fast.types import Metadata

Make = Callable[..., bytes]


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"quality": 75, "subsampling": "4:2:0"}),
        ("RGB", {"quality": 90, "subsampling": "4:2:2"}),
        ("RGB", {"quality": 100, "subsampling": "4:4:4"}),
        ("RGB", {"quality": 85, "progressive": True}),
        ("L", {"quality": 60}),
        ("CMYK", {"quality": 60}),
        ("RGB", {"qtables": [[n % 250 + 1 for n in range(64)], [7] * 64]}),
    ],
)
def test_the_header_is_what_pillow_reads(encoded: Make, mode: str, options: dict[str, Any]) -> None:
    data = encoded("JPEG", mode, size=(45, 67), **options)
    image, header = Image.open(io.BytesIO(data)), read_header(data)
    assert (header.width, header.height, header.precision) == (67, 45, 8)
    assert header.tables == tuple(tuple(table) for table in image.quantization.values())  # type: ignore[attr-defined]
    assert header.progressive is bool(options.get("progressive"))
    assert header.subsampling == (options.get("subsampling", "4:2:0") if mode == "RGB" else None)


def test_metadata_go_in_and_come_out(encoded: Make, exif_block: Make) -> None:
    metadata = Metadata(
        exif=exif_block(gps=False), icc=bytes(range(256)) * 600, xmp=b"<x:xmpmeta/>", dpi=(300.0, 240.0)
    )
    data = with_metadata(encoded(), metadata)
    assert read_header(data).metadata == metadata
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.info["icc_profile"] == metadata.icc and image.info["dpi"] == (300, 240)
    assert image.info["exif"] == b"Exif\0\0" + (metadata.exif or b"") and image.info["xmp"] == metadata.xmp


def test_what_does_not_fit_is_told(encoded: Make) -> None:
    with pytest.raises(PhotoError, match="do not fit"):
        with_metadata(encoded(), Metadata(xmp=b"x" * 70_000))


def test_gps_goes_and_every_other_byte_stays(encoded: Make, exif_block: Make) -> None:
    place = b'<x exif:GPSLatitude="51,30N"/>'
    bare = encoded()
    data = with_metadata(bare, Metadata(exif=exif_block(), xmp=place))
    result = without_gps(data)
    assert read_header(result).metadata.xmp == b"<x/>"
    assert result[-len(bare) + 20 :] == bare[20:]
    assert without_gps(bare) == bare


@pytest.mark.parametrize("cut", [2, 3, 10, 100, 300])
def test_a_cut_header_is_told(encoded: Make, cut: int) -> None:
    with pytest.raises(PhotoError, match="header"):
        read_header(encoded()[:cut])


@pytest.mark.parametrize(
    "data",
    [b"\xff\xd8\xff\xd9" * 4, b"\xff\xd8\xff\xdb\x00\x05\x00\x01\x02\xff\xda\x00\x04\x00\x00", b"\xff\xd8abcdef"],
)
def test_a_damaged_header_is_told(data: bytes) -> None:
    with pytest.raises(PhotoError):
        read_header(data)
