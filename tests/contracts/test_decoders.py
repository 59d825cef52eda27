"""One contract for whatever decodes a JPEG: the same photo, upright, and a clear word where there is none."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import icc
from dadfi_fast.images.decode import decode, open_picture, recognise
from dadfi_fast.images.decode.pillow import PillowDecoder
from dadfi_fast.images.decode.simplejpeg import JpegDecoder
from dadfi_fast.images.jpeg import read_header, with_metadata
from dadfi_fast.protect.job import PhotoJob
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.results import Entry
from dadfi_fast.types import Metadata, Photo

#: How far the pixels of two decoders may be apart, in levels.
WITHIN = 1


def by_simplejpeg(data: bytes) -> Photo:
    """Through libjpeg-turbo, a file at a time."""
    open_picture(data, max_pixels=10**8)
    return decode(JpegDecoder(data, read_header(data)), Path("x"))


def by_pillow(data: bytes) -> Photo:
    """Through Pillow."""
    return decode(PillowDecoder(data, recognise(data[:32]) or ""), Path("x"))


def by_dali(data: bytes) -> Photo:
    """Through DALI, in the middle of a batch of others; what it refuses, the next stage's decoder tells."""
    from dadfi_fast.protect.gpu.dali import Dali, Decoded
    from dadfi_fast.protect.gpu.dali_stage import DaliStage

    files = [picture(size=(30, 50)), data, picture(size=(61, 20))]
    entries = [Entry(Path("x"), "x", "x", len(file), 0) for file in files]
    items = [
        PhotoJob(entry, data=file, decoder=open_picture(file, max_pixels=10**8))
        for entry, file in zip(entries, files, strict=True)
    ]
    jobs = list(DaliStage(Dali(threads=1, batch=4), Meter(compute=1, disk=1))(items))
    assert [item.entry for item in jobs] == entries
    assert isinstance(jobs[0].decoder, Decoded) and isinstance(jobs[2].decoder, Decoded)
    return decode(jobs[1].decoder, Path("x"))


DECODERS = {"simplejpeg": by_simplejpeg, "pillow": by_pillow, "dali": by_dali}
Decode = Callable[[bytes], Photo]


@pytest.fixture(params=["simplejpeg", "pillow", pytest.param("dali", marks=pytest.mark.extras("dali"))])
def decoded(request: pytest.FixtureRequest) -> Decode:
    return DECODERS[request.param]


def picture(mode: str = "RGB", size: tuple[int, int] = (61, 83), **options: Any) -> bytes:
    """A JPEG of gradients and noise, height x width; odd sizes, so that blocks hang over the edge."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    waves = np.stack([127.5 + 80 * np.sin(x / 9 + k + y / (11 + k)) for k in range(3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 15, waves.shape)
    buffer = io.BytesIO()
    image = Image.fromarray(np.clip(waves + noise, 0, 255).astype(np.uint8)).convert(mode)
    image.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    """A JPEG whose EXIF says how it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture(exif=exif.tobytes())


GOOD = {
    "4:2:0": picture(subsampling="4:2:0"),
    "4:2:2": picture(subsampling="4:2:2"),
    "4:4:4": picture(subsampling="4:4:4"),
    "progressive": picture(subsampling="4:2:0", progressive=True),
    "greyscale": picture("L"),
    "greyscale, progressive": picture("L", progressive=True),
    "optimised Huffman tables": picture(optimize=True),
    "restart markers": picture(restart_marker_rows=1),
    "quality 5": picture(quality=5),
    "one pixel": picture(size=(1, 1)),
    "another picture behind it": picture() + bytes(9) + picture(size=(20, 20)),
    "stray bytes before its end": picture()[:-2] + b"\x00\x01\x02\x03" + picture()[-2:],
    "one row": picture(size=(1, 300)),
    **{f"orientation {n}": turned(n) for n in range(1, 9)},
}


@pytest.mark.parametrize("name", GOOD)
def test_all_see_the_same_photo(decoded: Decode, name: str) -> None:
    photo, expected = decoded(GOOD[name]), by_simplejpeg(GOOD[name])
    assert photo.pixels.shape == expected.pixels.shape and photo.pixels.dtype == np.uint8
    assert np.abs(photo.pixels.astype(int) - expected.pixels).max() <= WITHIN
    assert photo.pixels.flags.writeable and photo.pixels.flags.c_contiguous
    assert photo.alpha is None and photo.deep is None
    assert photo.metadata.exif == expected.metadata.exif
    assert photo.encoding.mode == expected.encoding.mode == ("L" if "grey" in name else "RGB")


def test_metadata_come_along(decoded: Decode) -> None:
    packet, profile = b"<x/>", icc.profile(icc.SRGB, (2.2,), "a display")
    photo = decoded(with_metadata(picture(), Metadata(xmp=packet, icc=profile, dpi=(72, 72))))
    assert (photo.metadata.xmp, photo.metadata.icc, photo.metadata.dpi) == (packet, profile, (72, 72))


def without_tables(data: bytes) -> bytes:
    """A JPEG whose quantisation tables are gone."""
    at = data.index(b"\xff\xdb")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


BAD = {
    "empty": b"",
    "not a picture": b"hello, world",
    "two bytes": b"\xff\xd8",
    "cut off in the header": picture()[:100],
    "cut off after a third": picture()[: len(picture()) // 3],
    "cut off at 9/10": picture()[: len(picture()) * 9 // 10],
    "half of it, and the end": picture()[: len(picture()) // 2] + b"\xff\xd9",
    "progressive, cut off": picture(progressive=True)[:1500],
    "zeros in place of the scan": picture()[: picture().index(b"\xff\xda")] + bytes(2000),
    "without tables": without_tables(picture()),
}
#: Lost in the middle, with the end in its place: libjpeg only warns of it, and only simplejpeg makes that an error. The
#: others make up the rest of the picture.
LENIENT = {"pillow": {"half of it, and the end"}, "dali": {"half of it, and the end"}}


@pytest.mark.parametrize("name", BAD)
def test_all_say_what_is_wrong(decoded: Decode, name: str) -> None:
    if any(decoded is DECODERS[lenient] and name in files for lenient, files in LENIENT.items()):
        assert decoded(BAD[name]).pixels.shape == (61, 83, 3)
        return
    with pytest.raises(PhotoError) as caught:
        decoded(BAD[name])
    assert str(caught.value)
