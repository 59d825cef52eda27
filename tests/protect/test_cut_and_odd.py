"""Pictures that are cut off, or of a kind whose decoder would not notice; and colours that are said in rare ways."""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import tifffile
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import bmp, icc
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.decode.base import Raster
from dadfi_fast.images.decode.simplejpeg import _without_padding

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]
#: 48 x 48, made by `cjpeg -arithmetic` and by `cjpeg -sample 2x1,1x2,1x1` from a gradient.
ARITHMETIC: Final = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEPERETFhwXExQaFRERGCEYGh0dHx8fExciJC"
    "IeJBweHx7/2wBDAQUFBQcGBw4ICA4eFBEUHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh7/yQARCAAw"
    "ADADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ALH1mVBXj8mS7ytpZakX+4vcSqUoI0KiJNxd+CFhsFQJwk0yKarOEMQxGD"
    "N82wOavISmR8iSO6mNunaVaIYlu5i524tkg2+tVjIz8oG7VIDjcy6o4Ovuv6Do9PH6cNjXxYjZqE5BrrKMTtObDP8AKgRg/9k="
)
ODD: Final = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEPERETFhwXExQaFRERGCEYGh0dHx8fExciJC"
    "IeJBweHx7/2wBDAQUFBQcGBw4ICA4eFBEUHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh7/wAARCAAw"
    "ADADASEAAhIBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAABAb/xAAXEAADAQAAAAAAAAAAAAAAAAAAAwRh/8QAGQEAAwEBAQAAAAAAAAAAAAAAAg"
    "MFBAcG/8QAFhEBAQEAAAAAAAAAAAAAAAAAAQAD/9oADAMBAAIRAxEAPwCEXHglceHpxgGlYbyVx4JXHg8YRq+G8lceCVx4OGEaxhvDXHglceGQ"
    "YRucYbyVx4JXHg8YBrGG8lceClx4PGEavhvCXHglceGQYRuc4byVx4JXHg4YRq+G8lceCVx4PGAaxhvf/9k="
)
#: The same with `-progressive`.
ODD_SCANS: Final = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGBYUGB"
    "IUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/wgARCAAwADADASEA"
    "AhIBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABAMG/8QAGQEAAgMBAAAAAAAAAAAAAAAAAwUBAgYE/9oADAMBAAIQAxAAAAHHX0FVqLlhoi5asyo5ow"
    "t0FqzugsNC35q4RFyw0RctWf8A/8QAFhAAAwAAAAAAAAAAAAAAAAAAAAED/9oACAEBAAEFAlIUhSFIURRFIUhSFIUhSFIURSFIUhSP/8QAFREBAQAA"
    "AAAAAAAAAAAAAAAAAwD/2gAIAQMBAT8BNI0jSNI0jSNI0jS//8QAFhEBAQEAAAAAAAAAAAAAAAAAAQAQ/9oACAECAQE/ASIjCIiI0jCL/8QAFBABAA"
    "AAAAAAAAAAAAAAAAAAQP/aAAgBAQAGPwIX/8QAFRABAQAAAAAAAAAAAAAAAAAAAGH/2gAIAQEAAT8hmmmmkkmmmmmmmkmmmm//2gAMAwEAAgADAAAA"
    "EFsSSfFMX//EABQRAQAAAAAAAAAAAAAAAAAAADD/2gAIAQMBAT8QEAAD/8QAFREBAQAAAAAAAAAAAAAAAAAAAQD/2gAIAQIBAT8QUpShlKUpShhlKG"
    "Ur/8QAFBABAAAAAAAAAAAAAAAAAAAAQP/aAAgBAQABPxAW2wCW2yCW3//Z"
)
ARITHMETIC_SCANS: Final = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGBYUGB"
    "IUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/ygARCAAwADADASIA"
    "AhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAf8AlEf33z+FBKxZLzy5yAGwILVTIaZDDbj1RfN8OAwpsBbWwCOw3MD/zAAEEAX/2gAIAQEAAQUCEq"
    "HNR4JJ1TMgmU4qGwFBJTD/zAAEEQX/2gAIAQMBAT8BGnQ2Wk7o/8wABBEF/9oACAECAQE/AQ6LKhjc/8wABBAF/9oACAEBAAY/ArD/zAAEEAX/2gAI"
    "AQEAAT8hvHD/2gAMAwEAAgADAAAAEKtFszU40Wj/zAAEEQX/2gAIAQMBAT8Qef/MAAQRBf/aAAgBAgEBPxB49v/MAAQQBf/aAAgBAQABPxCmMd4Js/"
    "HP2BFpif2qpSWAKZz/2Q=="
)
#: As `ODD`, by `cjpeg -arithmetic`.
ODD_ARITHMETIC: Final = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5PTgyPC"
    "4zNDL/2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjL/yQARCAAwADADASEA"
    "AhIBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AGqoUe7ZKPU1BL9JQzQWme32Y1afV8z1aoeDgeL8r9tt1MY3jO+RP8VsfS/B6W6O/wDDS+"
    "ENCxivMleWW8sJjSoyGY3xDkwg/9k="
)
WIDE: Final = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def raster(data: bytes) -> Raster:
    """The pixels."""
    return open_picture(data, max_pixels=10**6).decode()


def gradient() -> Any:
    """[48, 48, 3]"""
    y, x = np.mgrid[:48, :48]
    return np.dstack((60 + 2 * x, 80 + 2 * y, 120 + x + y)).astype(np.uint8)


def cmyk() -> bytes:
    """A JPEG."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 40, (48, 48, 3), np.uint8)
    Image.fromarray(gradient() + noise).convert("CMYK").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def tif() -> bytes:
    """16 bits, not compressed, the pixels last."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, gradient().astype(np.uint16) * 257, photometric="rgb", metadata=None)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("whole", "cut"),
    [(cmyk(), 0.5), (cmyk(), 0.9), (ARITHMETIC, 0.9), (ARITHMETIC, 0.99), (ODD, 0.9), (ODD, 0.99), (tif(), 0.999)],
    ids=["CMYK", "CMYK", "arithmetic", "arithmetic", "odd sampling", "odd sampling", "TIFF"],
)
def test_what_is_cut_off_is_refused(whole: bytes, cut: float) -> None:
    assert np.abs(raster(whole).pixels.astype(int) - gradient()).mean() < 30
    with pytest.raises(PhotoError, match="damaged"):
        raster(whole[: int(len(whole) * cut)])


@pytest.mark.parametrize("whole", [ODD_SCANS, ARITHMETIC_SCANS], ids=["odd sampling", "arithmetic"])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["no end", "an end"])
def test_a_cut_between_scans_is_refused(whole: bytes, end: bytes) -> None:
    assert np.abs(raster(whole).pixels.astype(int) - gradient()).mean() < 30
    for start in [match.start() for match in re.finditer(rb"\xff\xda", whole)][1:]:
        with pytest.raises(PhotoError, match="cut off"):
            raster(whole[:start] + end)


@pytest.mark.parametrize("lost", [5, 9, 0.1, 0.3, 0.7])
@pytest.mark.parametrize(
    "whole", [ARITHMETIC, ARITHMETIC_SCANS, ODD_ARITHMETIC], ids=["sequential", "progressive", "odd sampling"]
)
def test_a_cut_within_an_arithmetic_scan_that_was_given_an_end_is_refused(whole: bytes, lost: float) -> None:
    """The decoder goes on with zeros and does not complain. An encoder may leave out as many as three."""
    assert np.abs(raster(whole).pixels.astype(int) - gradient()).mean() < 30
    first = whole.rindex(b"\xff\xda") + 14
    size = len(whole) - 2 - first
    gone = int(lost if lost >= 1 else max(5, size * lost))
    cut = whole[: len(whole) - 2 - gone].rstrip(b"\xff") + b"\xff\xd9"
    with pytest.raises(PhotoError, match="damaged: a scan was cut off"):
        raster(cut)


def test_a_cut_within_an_earlier_arithmetic_scan_is_refused() -> None:
    first = ARITHMETIC_SCANS.index(b"\xff\xda") + 14
    end = re.compile(rb"\xff[^\x00\xff]").search(ARITHMETIC_SCANS, first)
    assert end is not None and end.start() - first > 12
    with pytest.raises(PhotoError, match="a scan was cut off"):
        raster(ARITHMETIC_SCANS[: end.start() - 9] + ARITHMETIC_SCANS[end.start() :])


def test_cmyk_is_read_as_others_read_it() -> None:
    assert np.array_equal(raster(cmyk()).pixels, np.asarray(Image.open(io.BytesIO(cmyk())).convert("RGB")))


def test_a_damaged_cmyk_is_refused() -> None:
    data = bytearray(cmyk())
    data[len(data) // 2 : -2] = bytes(len(data) - len(data) // 2 - 2)
    with pytest.raises(PhotoError, match="damaged"):
        raster(bytes(data))


@pytest.mark.parametrize(("run", "count", "gone"), [(200, 196, 200), (200, 150, 200), (1, 606, 0), (1, 9, 9)])
def test_padding_goes_and_nothing_else(run: int, count: int, gone: int) -> None:
    body, end = b"\xff\xd8 some pixels" + b"\0" * run, b"\xff\xd9"
    assert _without_padding(body + end, count) == body[: len(body) - gone] + end


@pytest.mark.parametrize(("marker", "kind"), [(0xC3, "lossless"), (0xC0, None)])
def test_a_lossless_jpeg_is_called_that(encoded: Make, marker: int, kind: str | None) -> None:
    data = encoded().replace(b"\xff\xc0\x00\x11", bytes((0xFF, marker)) + b"\x00\x11", 1)
    if kind is None:
        assert raster(data).pixels.ndim == 3
        return
    with pytest.raises(PhotoError, match=kind):
        raster(data)


def test_ycbcr_without_jpeg_is_called_that() -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, gradient(), photometric="ycbcr", metadata=None)
    with pytest.raises(PhotoError, match="YCbCr"):
        raster(buffer.getvalue())


def profile_of(data: bytes) -> bytes | None:
    """As carried over."""
    return decode(open_picture(data, max_pixels=10**6), Path("a")).metadata.icc


def primaries(profile: bytes) -> Any:
    """The three columns of its matrix."""
    tags = {}
    for n in range(struct.unpack_from(">I", profile, 128)[0]):
        name, at, _ = struct.unpack_from(">4sII", profile, 132 + 12 * n)
        tags[name] = struct.unpack_from(">3i", profile, at + 8) if name[1:] == b"XYZ" else ()
    return np.array([tags[name] for name in (b"rXYZ", b"gXYZ", b"bXYZ")]) / 65536


def test_primaries_of_a_tiff_become_a_profile() -> None:
    pairs = [(round(n * 10000), 10000) for n in WIDE]
    tags = [
        (318, 5, 2, [n for pair in pairs[:2] for n in pair], True),
        (319, 5, 6, [n for pair in pairs[2:] for n in pair], True),
        (301, 3, 768, [round(65535 * (n / 255) ** 1.8) for n in range(256)] * 3, True),
    ]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, gradient(), photometric="rgb", metadata=None, extratags=tags)
    profile = profile_of(buffer.getvalue())
    assert profile is not None and b"1\0.\x008\x000" in profile.replace(b"\0.", b"\0.")
    assert np.abs(primaries(profile) - primaries(icc.profile(WIDE, (1.8,), "x"))).max() < 0.001


@pytest.mark.parametrize("tags", [[], [(319, 5, 6, [64, 100, 33, 100, 30, 100, 60, 100, 15, 100, 6, 100], True)]])
def test_a_tiff_that_is_srgb_gets_none(tags: list[Any]) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, gradient(), photometric="rgb", metadata=None, extratags=tags)
    assert profile_of(buffer.getvalue()) is None


def test_primaries_of_a_bmp_become_a_profile() -> None:
    white, *ends = np.array(WIDE).reshape(4, 2)
    xyz = [np.array((x / y, 1.0, (1 - x - y) / y)) for x, y in (white, *ends)]
    scaled = np.array(xyz[1:]) * np.linalg.solve(np.array(xyz[1:]).T, xyz[0])[:, None]
    plain = bmp.write(gradient(), None, None, None)
    head = (
        plain[:70]
        + bytes(4)
        + struct.pack("<12I", *(round(n * 2**30) for n in scaled.ravel()), *[round(2.2 * 65536)] * 3)
    )
    profile = profile_of(head + plain[122:])
    assert profile is not None
    assert np.abs(primaries(profile) - primaries(icc.profile(WIDE, (2.2,), "x"))).max() < 0.001
    assert profile_of(plain) is None and profile_of(plain[:70] + bytes(52) + plain[122:]) is None


def test_further_frames_of_a_copied_file_are_named(encoded: Make, photos: Fill, run: Run, nobody: Any) -> None:
    more = [Image.new("RGB", (64, 64), "navy")]
    photos({"a.gif.tif": encoded("TIFF", save_all=True, append_images=more)})
    _, rows = run(detector=nobody, animated="first")
    assert rows["a.gif.tif"]["status"] == "copied"
    assert "1 further frames or pages were not searched" in rows["a.gif.tif"]["reason"]


@pytest.mark.parametrize(("quality", "lost"), [(5, True), (75, False)])
def test_a_jpeg_whose_compression_undoes_the_change_says_so(photos: Fill, run: Run, quality: int, lost: bool) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(buffer, "JPEG", quality=quality)
    photos({"a.jpg": buffer.getvalue()})
    _, rows = run(strength=0.01)
    assert rows["a.jpg"]["status"] == "written"
    assert ("leaves nothing" in (rows["a.jpg"]["reason"] or "")) == lost
