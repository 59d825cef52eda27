"""Encoding: the format, the quality, the kind of pixel and the metadata that the source had."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.encode import _standard, encode, standard_quality, target_format
from dadfi_fast.images.jpeg import read_header, with_metadata
from dadfi_fast.types import Metadata, Photo, Protected, UInt8

Make = Callable[..., bytes]


def photo(data: bytes) -> Photo:
    """``data`` decoded."""
    return decode(open_picture(data, max_pixels=10**8), Path("x"))


def again(data: bytes, **options: Any) -> bytes:
    """``data`` decoded and encoded without a change."""
    source = photo(data)
    return encode(Protected(source, source.pixels, (), 0, source.deep), **options)


def test_the_standard_tables_are_those_of_libjpeg(encoded: Make) -> None:
    for quality in range(1, 101):
        tables = read_header(encoded(size=(8, 8), quality=quality)).tables
        assert tables == _standard(quality)
        # 1 and 100 are unique; in between neighbours may share tables, and the first is as good.
        assert _standard(standard_quality(tables) or 0) == tables


CUSTOM = [[n % 250 + 1 for n in range(64)], [n % 99 + 2 for n in range(64)]]


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"quality": 100, "subsampling": "4:2:0"}),
        ("RGB", {"quality": 92, "subsampling": "4:4:4"}),
        ("RGB", {"quality": 75, "subsampling": "4:2:2"}),
        ("RGB", {"qtables": CUSTOM, "subsampling": "4:2:0"}),
        ("RGB", {"quality": 80, "progressive": True}),
        ("L", {"quality": 85}),
        ("L", {"qtables": CUSTOM[:1]}),
    ],
)
def test_a_jpeg_keeps_tables_and_subsampling(encoded: Make, mode: str, options: dict[str, Any]) -> None:
    data = encoded("JPEG", mode, **options)
    before, after = read_header(data), read_header(written := again(data))
    assert (after.tables, after.subsampling, after.progressive) == (
        before.tables,
        before.subsampling,
        before.progressive,
    )
    assert len(after.sampling) == len(before.sampling)
    difference = np.abs(photo(written).pixels.astype(int) - photo(data).pixels)
    assert difference.mean() < 1.5


def test_a_quality_that_is_asked_for(encoded: Make) -> None:
    header = read_header(again(encoded(quality=95, subsampling="4:2:2"), quality=60))
    assert standard_quality(header.tables) == 60 and header.subsampling == "4:2:2"


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("PNG", "L", {}),
        ("PNG", "LA", {}),
        ("PNG", "RGBA", {}),
        ("TIFF", "RGB", {}),
        ("TIFF", "RGBA", {}),
        ("TIFF", "L", {}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True, "exact": True}),
    ],
)
def test_lossless_formats_stay_what_they_are(encoded: Make, form: str, mode: str, options: dict[str, Any]) -> None:
    data = encoded(form, mode, **options)
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(again(data)))
    assert (after.format, after.mode) == (form, mode)
    assert np.array_equal(np.asarray(before), np.asarray(after))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("suffix", "form"), [(".png", "PNG"), (".tiff", "TIFF")])
def test_sixteen_bits_stay(channels: int, suffix: str, form: str) -> None:
    stored = np.random.default_rng(0).integers(0, 2**16, (9, 11, channels), dtype=np.uint16)
    data = again(cv2.imencode(suffix, stored)[1].tobytes())
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None and np.array_equal(np.atleast_3d(read), stored)
    assert Image.open(io.BytesIO(data)).format == form


META = {
    "icc": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "xmp": b"<x:xmpmeta>caption</x:xmpmeta>",
    "dpi": (300.0, 300.0),
}


@pytest.mark.parametrize(
    ("form", "carries"),
    [
        ("jpeg", ("exif", "icc", "xmp", "dpi")),
        ("png", ("exif", "icc", "xmp", "dpi")),
        ("tiff", ("exif", "icc", "xmp", "dpi")),
        ("webp", ("exif", "icc", "xmp")),
    ],
)
@pytest.mark.parametrize("deep", [False, True], ids=["8", "16"])
def test_metadata_are_carried(
    encoded: Make, exif_block: Callable[..., bytes], form: str, carries: tuple[str, ...], deep: bool
) -> None:
    source = photo(with_metadata(encoded(), Metadata(exif=exif_block(turn=1), **META)))
    wide = source.pixels.astype(np.uint16) << 8 if deep and form in ("png", "tiff") else None
    data = encode(Protected(source, source.pixels, (), 0, wide), form=form)
    metadata = open_picture(data, max_pixels=10**6).metadata
    for name in ("icc", "xmp"):
        assert getattr(metadata, name) == META[name]
    if "dpi" in carries:
        assert metadata.dpi == pytest.approx(META["dpi"], abs=0.02)
    kept = Image.Exif()
    kept.load(b"Exif\0\0" + (metadata.exif or b""))
    assert kept[0x010F].rstrip("\0") == "CameraX"
    assert kept.get_ifd(0x8825)[2] == (51, 30, 12)


def test_exif_of_a_jpeg_is_the_same_bytes(encoded: Make, exif_block: Callable[..., bytes]) -> None:
    block = exif_block(turn=1)
    header = read_header(again(with_metadata(encoded(), Metadata(exif=block))))
    assert header.metadata.exif == block


@pytest.mark.parametrize(
    ("source", "form", "expected"),
    [
        ("JPEG", "keep", "JPEG"),
        ("GIF", "keep", "PNG"),
        ("JPEG2000", "keep", "PNG"),
        ("PNG", "jpeg", "JPEG"),
        ("TIFF", "webp", "WEBP"),
    ],
)
def test_target_format(source: str, form: str, expected: str) -> None:
    assert target_format(source, form) == expected


def test_alpha_is_laid_over_white_for_jpeg(smooth: Callable[[int, int], UInt8]) -> None:
    buffer = io.BytesIO()
    half = np.dstack((np.zeros((16, 16, 3), np.uint8), np.repeat([[0] * 8 + [255] * 8], 16, axis=0).astype(np.uint8)))
    Image.fromarray(half).save(buffer, "PNG")
    pixels = photo(again(buffer.getvalue(), form="jpeg")).pixels
    assert pixels[:, :7].min() > 245 and pixels[:, 9:].max() < 10


def test_pngs_become_full_colour_jpegs(encoded: Make) -> None:
    header = read_header(again(encoded("PNG"), form="jpeg"))
    assert header.subsampling == "4:4:4" and standard_quality(header.tables) == 95
    assert JpegImagePlugin.get_sampling(Image.open(io.BytesIO(again(encoded("PNG"), form="jpeg")))) == 0


def test_what_a_codec_refuses_is_told(encoded: Make) -> None:
    with pytest.raises(PhotoError, match="cannot write it as WEBP"):
        again(encoded("PNG", size=(1, 17000)), form="webp")


def test_a_bmp_keeps_alpha_and_resolution(smooth: Callable[[int, int], UInt8]) -> None:
    from dadfi_fast.images import bmp

    fade = np.tile(np.arange(31, dtype=np.uint8) * 8, (20, 1))
    data = bmp.write(smooth(20, 31), fade, (300.0, 150.0), None)
    for each in (data, again(data)):
        image = Image.open(io.BytesIO(each))
        assert image.mode == "RGBA" and image.info["dpi"] == pytest.approx((300, 150), abs=0.1)
        assert np.array_equal(np.asarray(image), np.dstack((smooth(20, 31), fade)))
