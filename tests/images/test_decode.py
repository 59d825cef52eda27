"""Decoding: by content, upright, every kind of pixel, and clear words for what cannot be decoded."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from dadfi_fast.errors import PhotoError, UnsafePhoto
from dadfi_fast.images import icc
from dadfi_fast.images.decode import decode, open_picture, recognise, upright
from dadfi_fast.images.jpeg import with_metadata
from dadfi_fast.types import Metadata, Photo, UInt8, UInt16

PROFILE = icc.profile(icc.SRGB, (2.2,), "a display")
Make = Callable[..., bytes]
Smooth = Callable[[int, int], UInt8]


def photo(data: bytes, **options: Any) -> Photo:
    """``data`` decoded."""
    return decode(open_picture(data, max_pixels=10**8), Path("x"), **options)


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 95}),
        ("JPEG", "RGB", {"quality": 95, "subsampling": "4:4:4", "progressive": True}),
        ("JPEG", "L", {}),
        ("PNG", "RGB", {}),
        ("PNG", "L", {}),
        ("PNG", "LA", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("PNG", "1", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "L", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"quality": 80}),
        ("AVIF", "RGB", {}),
        ("JPEG2000", "RGB", {}),
    ],
)
def test_pixels_are_those_of_pillow(encoded: Make, form: str, mode: str, options: dict[str, Any]) -> None:
    data = encoded(form, mode, size=(45, 67), **options)
    result, expected = photo(data), Image.open(io.BytesIO(data))
    assert recognise(data[:32]) == form == result.encoding.format
    assert np.array_equal(result.pixels, np.asarray(expected.convert("RGB")))
    assert result.pixels.flags.writeable and result.pixels.flags.c_contiguous and result.deep is None
    if "A" in mode:
        assert result.alpha is not None and np.array_equal(result.alpha, np.asarray(expected.getchannel("A")))
    else:
        assert result.alpha is None
    assert result.encoding.mode == {"P": "RGB", "1": "L"}.get(mode, mode)
    assert result.encoding.lossless is bool(options.get("lossless"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_orientation_is_applied_once_and_reset(encoded: Make, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "CameraX"
    data = encoded(form, size=(40, 56), exif=exif.tobytes(), **({"lossless": True} if form == "WEBP" else {}))
    result = photo(data)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(result.pixels, np.asarray(turned))
    kept = Image.Exif()
    kept.load(b"Exif\0\0" + (result.metadata.exif or b""))
    assert kept.get(0x0112, 1) == 1 and kept[0x010F] == "CameraX"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_pillow_does(smooth: Smooth, orientation: int) -> None:
    image = Image.fromarray(smooth(20, 31))
    image.getexif()[0x0112] = orientation
    assert np.array_equal(upright(smooth(20, 31), orientation), np.asarray(ImageOps.exif_transpose(image)))


def deep_png(pixels: UInt16) -> bytes:
    """A PNG of 16 bits a channel."""
    return cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels)[1].tobytes()


@pytest.mark.parametrize(("channels", "mode"), [(1, "I;16"), (3, "RGB;16"), (4, "RGB;16")])
@pytest.mark.parametrize("form", [".png", ".tiff"])
def test_sixteen_bits_are_kept(channels: int, mode: str, form: str) -> None:
    stored = np.random.default_rng(0).integers(0, 2**16, (9, 11, channels), dtype=np.uint16)
    data = cv2.imencode(form, stored)[1].tobytes()
    result = photo(data)
    assert result.deep is not None and result.encoding.mode == mode
    expected = stored[..., :3][..., ::-1] if channels > 1 else np.repeat(stored, 3, axis=2)
    assert np.array_equal(result.deep, expected)
    assert np.array_equal(result.pixels, (expected >> 8).astype(np.uint8))
    assert (result.alpha is not None and np.array_equal(result.alpha, stored[..., 3])) is (channels == 4)


def test_cmyk_becomes_rgb(encoded: Make, smooth: Smooth) -> None:
    result = photo(encoded("JPEG", "CMYK", quality=95))
    assert result.encoding.mode == "RGB" and result.metadata.icc is None
    assert np.abs(result.pixels.astype(int) - smooth(48, 64)).mean() < 6


def test_a_profile_that_is_not_for_cmyk_does_not_stop_it(encoded: Make) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert photo(encoded("JPEG", "CMYK", icc_profile=profile)).pixels.shape == (48, 64, 3)


def test_transparency_of_a_palette_becomes_alpha() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 1), 1)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=1)
    result = photo(buffer.getvalue())
    assert result.alpha is not None and result.alpha[1, 1] == 0 and result.alpha[0, 0] == 255
    assert tuple(result.pixels[0, 0]) == (10, 20, 30)


def test_one_pixel(encoded: Make) -> None:
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF"):
        assert photo(encoded(form, size=(1, 1))).pixels.shape == (1, 1, 3)


def test_stray_bytes_between_segments_are_no_fault(encoded: Make) -> None:
    data = encoded("JPEG")
    stray = data[:-2] + b"\x00\x01\x02\x03" + data[-2:]
    assert np.array_equal(photo(stray).pixels, photo(data).pixels)


def bomb(width: int, height: int) -> bytes:
    """A PNG header, and hardly any pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + body
        + struct.pack(">I", zlib.crc32(body))
        + b"\0\0\0\x40IDAT"
        + bytes(68)
    )


def jpeg_bomb(data: bytes) -> bytes:
    """A JPEG that says that it is 65,000 pixels wide and high."""
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", 65000, 65000) + data[at + 9 :]


def test_bombs_are_refused_before_they_are_decoded(encoded: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for data in (bomb(100_000, 100_000), jpeg_bomb(encoded())):
        with pytest.raises(UnsafePhoto, match="--max-pixels 100000000"):
            open_picture(data, max_pixels=10**8)


def test_the_bound_is_inclusive(encoded: Make) -> None:
    assert open_picture(encoded(size=(10, 10)), max_pixels=100).width == 10
    with pytest.raises(UnsafePhoto):
        open_picture(encoded(size=(10, 10)), max_pixels=99)


def animated(form: str) -> bytes:
    """Two frames."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_animations_are_told(form: str) -> None:
    with pytest.raises(PhotoError, match=r"the file has 2 frames or pages. Pass --animated first"):
        open_picture(animated(form), max_pixels=10**6)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_first_frame_by_choice(form: str) -> None:
    decoder = open_picture(animated(form), max_pixels=10**6, animated="first")
    result = decode(decoder, Path("x"))
    assert decoder.frames == 2 and result.pixels.shape == (16, 16, 3)
    assert np.abs(result.pixels.astype(int) - (255, 0, 0)).max() < 12  # red comes before blue


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_off_files_are_told(encoded: Make, form: str, share: float) -> None:
    data = encoded(form, size=(80, 90))
    with pytest.raises(PhotoError):
        photo(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"hello, world", "not a supported image file"),
        (b"\xff\xd8\xff\xe0 not a jpeg", "header"),
        (b"\x89PNG\r\n\x1a\n not a png", "PNG is damaged"),
        (b"GIF89a", "GIF is damaged"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WEBP is damaged"),
        (b"II*\0\x08\0\0\0\0\0", "TIFF is damaged"),
        (b"\0\0\0\x18ftypavif" + bytes(40), "AVIF is damaged"),
    ],
)
def test_damage_is_told(data: bytes, words: str) -> None:
    with pytest.raises(PhotoError, match=words):
        photo(data)


def test_floating_point_is_told() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(buffer, "TIFF")
    with pytest.raises(PhotoError, match="32 bits a sample, floating point"):
        open_picture(buffer.getvalue(), max_pixels=100)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, as in a run
def test_damaged_bits_never_end_the_run(encoded: Make) -> None:
    rng = np.random.default_rng(0)
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF"):
        good = np.frombuffer(encoded(form, size=(24, 32)), np.uint8)
        for _ in range(30):
            bad = good.copy()
            bad[rng.integers(4, len(bad), 8)] ^= rng.integers(1, 255, 8, dtype=np.uint8)
            try:
                assert photo(bad.tobytes()).pixels.ndim == 3
            except PhotoError as error:
                assert str(error)


def test_metadata_of_a_tiff_become_exif(encoded: Make) -> None:
    exif = Image.Exif()
    exif[270], exif[315] = "a portrait", "the artist"
    metadata = photo(encoded("TIFF", exif=exif, dpi=(300, 300), icc_profile=PROFILE)).metadata
    kept = Image.Exif()
    kept.load(b"Exif\0\0" + (metadata.exif or b""))
    assert dict(kept) == {270: "a portrait", 315: "the artist"}
    assert metadata.dpi == (300, 300) and metadata.icc == PROFILE


def test_gps_is_stripped_where_asked_for(encoded: Make, exif_block: Make) -> None:
    from dadfi_fast.images import exif

    data = with_metadata(encoded(), Metadata(exif=exif_block()))
    assert exif.has_gps(photo(data).metadata.exif)
    assert not exif.has_gps(photo(data, strip_gps=True).metadata.exif)
