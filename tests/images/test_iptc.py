"""Photoshop's resources and the IPTC in them: thumbnails and places out, keywords and captions kept."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, IptcImagePlugin

from dadfi_fast.images import iptc

Make = Callable[..., bytes]


def record(number: int, value: bytes, section: int = 2) -> bytes:
    """One entry of IPTC."""
    return bytes((0x1C, section, number)) + struct.pack(">H", len(value)) + value


def resource(number: int, data: bytes, signature: bytes = b"8BIM") -> bytes:
    """One of Photoshop's."""
    return signature + struct.pack(">HHI", number, 0, len(data)) + data + b"\0" * (len(data) % 2)


PLACES = record(90, b"Sampletown") + record(101, b"Land")
RECORDS = record(90, b"\x1b%G", 1) + record(25, b"alpha") + PLACES + record(120, b"cap")
BARE = record(90, b"\x1b%G", 1) + record(25, b"alpha") + record(120, b"cap")
DIGEST, PATH = resource(0x0425, bytes(16)), resource(2000, b"a path")


def read(photoshop: bytes) -> dict[tuple[int, int], bytes | list[bytes]]:
    """IPTC as Pillow reads it, from a JPEG."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    data, payload = buffer.getvalue(), iptc.PREFIX + photoshop
    segment = struct.pack(">BBH", 0xFF, 0xED, len(payload) + 2) + payload
    return IptcImagePlugin.getiptcinfo(Image.open(io.BytesIO(data[:2] + segment + data[2:]))) or {}


def test_records_are_kept_and_places_go_where_asked_for() -> None:
    whole = resource(0x0404, RECORDS) + DIGEST + PATH
    assert iptc.has_place(whole)
    assert iptc.cleaned(whole) == whole
    result = iptc.cleaned(whole, strip_gps=True)
    assert result == resource(0x0404, BARE) + PATH == iptc.without_place(whole)
    assert read(result) == {(1, 90): b"\x1b%G", (2, 25): b"alpha", (2, 120): b"cap"}
    assert not iptc.has_place(result) and iptc.cleaned(result, strip_gps=True) == result


@pytest.mark.parametrize("number", [0x0409, 0x040C, 0x0422, 0x0423, 0x0424, 5000])
def test_thumbnails_and_copies_of_other_metadata_go(encoded: Make, number: int) -> None:
    whole = resource(number, bytes(28) + encoded(size=(16, 16))) + resource(0x0404, RECORDS)
    assert iptc.cleaned(whole) == resource(0x0404, RECORDS)


def test_the_preview_in_iptc_goes() -> None:
    whole = resource(0x0404, record(25, b"a") + record(202, b"not even a JPEG"))
    assert iptc.cleaned(whole) == resource(0x0404, record(25, b"a"))


@pytest.mark.parametrize(
    "photoshop", [None, b"", b"nonsense", resource(0x0404, RECORDS)[:-3], b"8BIM\4\4\0\0\xff\xff\xff\xff"]
)
def test_what_makes_no_sense_is_nothing(photoshop: bytes | None) -> None:
    assert iptc.cleaned(photoshop) is None and iptc.has_place(photoshop) == bool(photoshop)


@pytest.mark.parametrize(
    ("whole", "why"),
    [
        (resource(0x0404, record(5, b"t")) + resource(0x0404, RECORDS), "a second resource of records"),
        (resource(0x03ED, b"1234") + b"\0" + resource(0x0404, RECORDS), "resources that are out of step"),
        (resource(0x0404, record(5, b"t") + b"\0" + RECORDS), "records that are out of step"),
    ],
)
def test_a_place_behind_what_is_looked_at_first_goes(whole: bytes, why: str) -> None:
    assert iptc.has_place(whole), why
    assert b"Sampletown" in whole and b"Sampletown" not in iptc.without_place(whole)
    assert not iptc.has_place(iptc.without_place(whole))


def test_pictures_in_records_go_and_large_unknown_ones_are_named(encoded: Callable[..., bytes]) -> None:
    caption = record(120, base64.b64encode(encoded(size=(24, 24))))
    assert iptc.cleaned(resource(0x0404, caption + record(5, b"t"))) == resource(0x0404, record(5, b"t"))
    raw = bytes(range(1, 256)) * 20
    assert iptc.unread(resource(0x0404, record(230, raw))) and iptc.unread(resource(0x1234, raw))
    assert not iptc.unread(resource(0x0404, record(120, b"a caption " * 900)))
    assert not iptc.unread(resource(0x040F, raw)), "an ICC profile"


def test_records_without_resources() -> None:
    assert iptc.iptc_of(iptc.resources_of(RECORDS)) == RECORDS and iptc.resources_of(None) is None


def test_a_long_record() -> None:
    value = b"x" * 40_000
    long = bytes((0x1C, 2, 120)) + struct.pack(">HI", 0x8004, len(value)) + value
    whole = resource(0x0404, long + record(90, b"Sampletown"))
    assert iptc.cleaned(whole, strip_gps=True) == resource(0x0404, long)


@given(st.binary(max_size=200), st.integers(0, 100))
def test_any_bytes_are_survived(noise: bytes, at: int) -> None:
    whole = resource(0x0404, RECORDS)
    damaged = whole[:at] + noise + whole[at:]
    iptc.cleaned(damaged, strip_gps=True)
    assert not iptc.has_place(iptc.without_place(damaged))
