"""JPEGs that every viewer opens: what is wrong beside the pixels is mended, lost pixels are told."""

from __future__ import annotations

import io
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import icc
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.types import Photo, UInt8

Smooth = Callable[[int, int], UInt8]
PROFILE = icc.profile(icc.SRGB, (2.2,), "a display")


def picture(**options: object) -> bytes:
    """A JPEG of noise, in which every bit counts."""
    noise = np.random.default_rng(0).integers(0, 255, (61, 83, 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(str(options.pop("mode", "RGB")))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **({"quality": 90} | options))  # type: ignore[arg-type]
    return buffer.getvalue()


def photo(data: bytes) -> Photo:
    """``data`` decoded."""
    return decode(open_picture(data, max_pixels=10**8), Path("x"))


def segment(marker: int, payload: bytes) -> bytes:
    """A marker with its payload."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def within(data: bytes, *more: bytes) -> bytes:
    """``data`` with bytes behind its first segment."""
    at = 4 + int.from_bytes(data[4:6], "big")
    return data[:at] + b"".join(more) + data[at:]


def scan(data: bytes) -> int:
    """Where the header of the first scan ends."""
    at = data.index(b"\xff\xda") + 2
    return at + int.from_bytes(data[at : at + 2], "big")


def part(number: int, count: int, data: bytes) -> bytes:
    """A segment with a part of an ICC profile."""
    return segment(0xE2, b"ICC_PROFILE\0" + bytes((number, count)) + data)


BASE = picture()
RESTARTS = picture(restart_marker_rows=1)
FIRST, SECOND = PROFILE[:200], PROFILE[200:]
MENDED = {
    "junk between segments": within(BASE, bytes(14)),
    "much of it": within(BASE, b"abc" * 400),
    "junk that ends as a marker begins": within(BASE, b"\0\xff"),
    "junk before the scan": BASE[: BASE.index(b"\xff\xda")] + b"abc\0\xff\0" + BASE[BASE.index(b"\xff\xda") :],
    "no end": BASE[:-2],
    "no end, but padding": BASE[:-2] + bytes(700),
    "padding before the end": BASE[:-2] + bytes(200) + BASE[-2:],
    "much of it before the end": BASE[:-2] + bytes(5000) + BASE[-2:],
    "fill bytes before the end": BASE[:-2] + b"\xff" * 500 + BASE[-2:],
    "padding behind the end": BASE + bytes(5000),
    "Samsung's panorama: Se is 0": BASE[: scan(BASE) - 3] + bytes(3) + BASE[scan(BASE) :],
    "the same with restarts": RESTARTS[: scan(RESTARTS) - 3] + bytes(3) + RESTARTS[scan(RESTARTS) :],
    "the same without an end": BASE[: scan(BASE) - 3] + bytes(3) + BASE[scan(BASE) : -2],
    "JFIF of a version to come": BASE[:11] + b"\x09\x09" + BASE[13:],
    "Adobe's marker with an unknown transform": within(BASE, segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09")),
    "segments that are too short": within(BASE, *(segment(m, p) for m, p in (
        (0xE1, b""), (0xE2, b"ICC_PROFILE\0"), (0xE2, b"MPF\0"), (0xED, b"P"), (0xEE, b"Ad")))),
    "EXIF of nonsense": within(BASE, segment(0xE1, b"Exif\0\0nonsense")),
    "an empty part of a profile": within(BASE, part(1, 1, b"")),
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_it_is_read_to_the_last_pixel(name: str) -> None:
    expected = np.asarray(Image.open(io.BytesIO(RESTARTS if "restarts" in name else BASE)).convert("RGB"))
    assert np.array_equal(photo(MENDED[name]).pixels, expected)


def test_a_progressive_one_without_its_end() -> None:
    data = picture(progressive=True)
    assert np.array_equal(photo(data[:-2]).pixels, photo(data).pixels)


@pytest.mark.parametrize(
    ("parts", "expected", "why"),
    [
        ([(1, 2, FIRST), (2, 2, SECOND)], PROFILE, "as it should be"),
        ([(2, 2, SECOND), (1, 2, FIRST)], PROFILE, "in another order"),
        ([(0, 2, FIRST), (1, 2, SECOND)], PROFILE, "numbers from 0 on"),
        ([(0, 1, PROFILE)], PROFILE, "number 0"),
        ([(1, 1, FIRST), (1, 1, SECOND)], PROFILE, "all are number 1"),
        ([(1, 9, FIRST), (2, 9, SECOND)], PROFILE, "a wrong count"),
        ([(1, 1, PROFILE), (1, 1, PROFILE)], PROFILE, "twice"),
        ([(1, 2, FIRST), (2, 2, SECOND), (1, 2, FIRST)], PROFILE, "a part twice"),
        ([(1, 1, b"")], None, "empty"),
        ([(1, 3, FIRST), (3, 3, SECOND[50:])], None, "a part is missing"),
        ([(1, 1, b"nonsense")], None, "nonsense"),
    ],
)
def test_profiles_with_wrong_numbers(parts: list[tuple[int, int, bytes]], expected: bytes | None, why: str) -> None:
    metadata = photo(within(BASE, *(part(*each) for each in parts))).metadata
    assert metadata.icc == expected, why
    told = ("left out a damaged ICC profile",)
    assert metadata.notes == (told if expected is None and any(data for _, _, data in parts) else ())


PROGRESSIVE = picture(progressive=True)
LOST = {
    "half of it": BASE[: len(BASE) // 2],
    "half of it, and an end": BASE[: len(BASE) // 2] + b"\xff\xd9",
    "nine tenths": BASE[: len(BASE) * 9 // 10] + b"\xff\xd9",
    "nine tenths of a panorama": MENDED["Samsung's panorama: Se is 0"][: len(BASE) * 9 // 10],
    "progressive, cut off": PROGRESSIVE[: len(PROGRESSIVE) * 9 // 10],
    "progressive, the last scan is missing": PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")],
    "zeros in place of the scan": BASE[: scan(BASE)] + bytes(3000) + b"\xff\xd9",
    "zeros in place of its last quarter": BASE[: len(BASE) * 3 // 4] + bytes(len(BASE)) + b"\xff\xd9",
}


@pytest.mark.parametrize("name", LOST)
def test_lost_pixels_are_told(name: str) -> None:
    with pytest.raises(PhotoError, match="damaged"):
        photo(LOST[name])


CUTS = {
    "baseline": (picture(), "nothing"),
    "baseline, grey": (picture(mode="L"), "nothing"),
    "baseline, with restarts": (RESTARTS, "nothing"),
    "CMYK": (picture(mode="CMYK"), "nothing"),
    "progressive": (PROGRESSIVE, "the end of a scan"),
    "progressive, grey": (picture(mode="L", progressive=True), "the end of a scan"),
    "progressive, with restarts": (picture(progressive=True, restart_marker_rows=1), "the end of a scan"),
    "progressive, CMYK": (picture(mode="CMYK", progressive=True), "the end of a scan"),
}


@pytest.mark.parametrize("tail", [b"", b"\xff\xd9", bytes(9000) + b"\xff\xd9"], ids=["cut", "an end", "zeros, an end"])
@pytest.mark.parametrize("name", CUTS)
def test_wherever_it_is_cut_it_is_damaged(name: str, tail: bytes) -> None:
    data, also = CUTS[name]
    cuts = [scan(data) + (len(data) - 8 - scan(data)) * n // 60 for n in range(60)]
    if also != "nothing":  # where nothing within a scan is missing
        cuts += [match.start() for match in re.finditer(rb"\xff[\xc4\xda]", data) if match.start() > scan(data)]
    for cut in cuts:
        with pytest.raises(PhotoError, match="damaged"):
            photo(data[:cut] + tail)


def test_bytes_before_a_restart_are_no_padding() -> None:
    """There the codec goes on at the next one, with what it has."""
    at = RESTARTS.index(b"\xff\xd1")
    with pytest.raises(PhotoError, match="damaged"):
        photo(RESTARTS[: at - 20] + bytes(20) + RESTARTS[at:])


@pytest.mark.parametrize("cut", [0, 2])
def test_cmyk(cut: int) -> None:
    data = picture(mode="CMYK")
    result = photo(data[: len(data) - cut])
    assert result.pixels.shape == (61, 83, 3) and result.encoding.mode == "RGB"


def test_a_subsampling_without_a_name(tmp_path: Path, smooth: Smooth) -> None:
    Image.fromarray(smooth(48, 64)).save(tmp_path / "a.ppm")
    try:
        process = subprocess.run(["cjpeg", "-sample", "2x2,1x2,1x1", str(tmp_path / "a.ppm")], capture_output=True)
    except FileNotFoundError:
        pytest.skip("libjpeg's cjpeg is not installed")
    result = photo(process.stdout)
    assert result.encoding.subsampling is None and result.encoding.quantization
    assert np.array_equal(result.pixels, np.asarray(Image.open(io.BytesIO(process.stdout))))


def test_iptc_and_comments_are_read() -> None:
    from dadfi_fast.images.iptc import PREFIX, iptc_of, resources_of

    resources = resources_of(b"\x1c\x02\x19\x00\x05alpha") or b""
    whole = within(
        BASE,
        segment(0xED, PREFIX + resources[:7]),
        segment(0xED, PREFIX + resources[7:]),
        segment(0xFE, "grüße".encode()),
        segment(0xFE, b"Z\xfcrich\0"),
    )
    metadata = photo(whole).metadata
    assert iptc_of(metadata.photoshop) == b"\x1c\x02\x19\x00\x05alpha"
    assert metadata.texts == (("Comment", "grüße"), ("Comment", "Zürich"))
