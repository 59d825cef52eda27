"""AVIF, HEIC and JPEG 2000: brands, colours by numbers, depth, metadata in boxes."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import boxes, heif
from dadfi_fast.images.decode import open_picture, recognise

Make = Callable[..., bytes]


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    """The first box of a file."""
    return struct.pack(">I4s4sI", 16 + 4 * len(compatible), b"ftyp", major, 0) + b"".join(compatible)


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (ftyp(b"avif", b"mif1"), "AVIF"),
        (ftyp(b"mif1", b"avif", b"miaf"), "AVIF"),
        (ftyp(b"miaf", b"mif1", b"MA1B", b"avif"), "AVIF"),
        (ftyp(b"mif1", b"heic"), "HEIF"),
        (ftyp(b"heic", b"mif1"), "HEIF"),
        (ftyp(b"mif1"), "HEIF"),
        (ftyp(b"isom", b"mp42"), None),
        (ftyp(b"qt  "), None),
    ],
)
def test_brands(head: bytes, form: str | None) -> None:
    assert recognise(head + bytes(80)) == form


def signalled(avif: bytes, primaries: int, transfer: int) -> bytes:
    """An AVIF that says that its colours are these."""
    at = avif.index(b"colrnclx") + 8
    return avif[:at] + struct.pack(">HH", primaries, transfer) + avif[at + 4 :]


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_numbers_of_colours_become_a_profile(encoded: Make, form: str) -> None:
    options: dict[str, int] = {}
    if form == "HEIF":
        heif.register()
        options = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 6}
    data = encoded(form, size=(64, 64), **options)
    assert b"colrnclx" in data, "the encoder writes no box of colours"
    decoder = open_picture(signalled(data, 12, 13), max_pixels=10**6)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(decoder.metadata.icc or b"")).profile
    assert np.allclose(profile.red_colorant[1][:2], (0.6820, 0.3194), atol=0.002)  # P3's red under D50
    assert open_picture(signalled(data, 1, 13), max_pixels=10**6).metadata.icc is None


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(encoded: Make, transfer: int, name: str) -> None:
    with pytest.raises(PhotoError, match=rf"HDR image \({name}\).*Export it as SDR first"):
        open_picture(signalled(encoded("AVIF", size=(64, 64)), 9, transfer), max_pixels=10**6)


@given(st.binary(max_size=60), st.integers(0, 400))
def test_any_bytes_are_survived(noise: bytes, at: int) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "AVIF")
    data = buffer.getvalue()
    boxes.read_signals(data[:at] + noise + data[at:])
    boxes.jpeg2000_metadata(noise)
    boxes.jpeg2000_bits(b"\xff\x4f\xff\x51" + noise)


def deep_jp2(channels: int) -> bytes:
    """A JPEG 2000 of 16 bits, without loss."""
    ramp = np.linspace(0, 65535, 64 * 64, dtype=np.uint16).reshape(64, 64)
    stored = np.dstack([ramp, ramp[::-1], ramp.T][:channels])
    options = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    return cv2.imencode(".jp2", stored, options)[1].tobytes()


@pytest.mark.parametrize(("channels", "mode"), [(1, "I;16"), (3, "RGB;16")])
def test_sixteen_bits_of_jpeg_2000_are_kept(channels: int, mode: str) -> None:
    decoder = open_picture(deep_jp2(channels), max_pixels=10**6)
    raster = decoder.decode()
    assert decoder.encoding.mode == mode and raster.deep is not None
    expected = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    assert np.abs(raster.deep[..., 2 if channels == 3 else 0] - expected).max() < 200
    assert np.array_equal(raster.pixels, raster.deep >> 8)


def test_metadata_of_jpeg_2000(encoded: Make, exif_block: Make) -> None:
    def box(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), name) + content

    block = exif_block()
    data = encoded("JPEG2000") + box(b"uuid", b"JpgTiffExif->JP2" + block)
    data += box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x/>")
    metadata = open_picture(data, max_pixels=10**6).metadata
    assert (metadata.exif, metadata.xmp) == (block, b"<x/>")


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_grey_of_a_heic_is_scaled_and_not_cut(bits: int) -> None:
    import pillow_heif

    heif.register()
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    buffer = io.BytesIO()
    pillow_heif.from_bytes("L;16", (64, 64), ramp.tobytes()).save(buffer, quality=-1, bit_depth=bits)
    decoder = open_picture(buffer.getvalue(), max_pixels=10**6)
    assert np.abs(decoder.decode().pixels[..., 0].astype(int) - (ramp >> 8)).max() <= 1
    assert decoder.metadata.notes == (f"{bits} bits a channel became 8",)
