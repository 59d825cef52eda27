"""Files that claim to be more than they are: found out in time that goes with their size."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable

import pytest

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import exif, jpeg, png, strip, xmp
from dadfi_fast.images.decode import open_picture
from dadfi_fast.images.guard import check_lengths, is_sane_exif

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 16, 16, 16, 2, 0, 0, 0, 0xC001B475)


@pytest.mark.parametrize("name", [b"IDAT", b"iTXt", b"tEXt", b"fdAT", b"\0\0\0\0"])
@pytest.mark.parametrize("length", [0xFFFFFF00, 0x7FFFFFFF, 1 << 30, 2 << 20])
def test_a_chunk_longer_than_its_file_is_refused(name: bytes, length: int) -> None:
    with pytest.raises(PhotoError, match="claims"):
        check_lengths(PNG + struct.pack(">I", length) + name + b"short")


def test_whole_and_cut_files_pass(encoded: Callable[..., bytes]) -> None:
    for form in ("PNG", "JPEG", "WEBP"):
        data = encoded(form)
        for end in (0, 1, 8, 20, 40, len(data) // 2, len(data) - 1, len(data)):
            check_lengths(data[:end])
    check_lengths(encoded("PNG") + b"\xff" * 100)  # what stands behind is not looked at


def directory(entries: int, *, count: int, order: str = "<", kind: int = 7) -> bytes:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    fields = b"".join(struct.pack(order + "HHII", 0x9000 + n % 100, kind, count, 8) for n in range(entries))
    return head + struct.pack(order + "H", entries) + fields + bytes(4)


@pytest.mark.parametrize(
    ("block", "kept"),
    [
        (directory(65_535, count=8_000_000) + bytes(8_000_000), False),  # every value the whole block
        (directory(65_535, count=8_000_000, order=">") + bytes(8_000_000), False),
        (directory(65_535, count=1), False),
        (directory(10, count=1 << 31, kind=12), False),
        (directory(200, count=100) + bytes(20_000), True),
        (directory(1, count=1)[:-9], True),  # breaks off
        (b"Exif\0\0" + directory(3, count=4), True),
        (b"II*\0", True),
        (b"", True),
        (b"II*\0\xff\xff\xff\xff", True),
    ],
)
def test_exif(block: bytes, kept: bool) -> None:
    start = time.process_time()
    assert is_sane_exif(block) == kept
    if not kept:
        assert exif.cleaned(block) is None and exif.without_gps(block) == b""
        assert exif.has_gps(block), "what is not looked at may say where the photo was taken"
    assert time.process_time() - start < 2


def test_a_copy_without_its_place_is_without_exif_that_is_not_looked_at(encoded: Callable[..., bytes]) -> None:
    data = encoded("WEBP", exif=directory(5000, count=1))
    metadata = open_picture(data, max_pixels=10**6).metadata
    copy = strip.without_place(data, "WEBP", metadata)
    assert metadata.exif is not None and copy is not None
    assert open_picture(copy, max_pixels=10**6).metadata.exif is None and not strip.still_names_place(copy)


RDF = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a>%s</a></x:xmpmeta>'


@pytest.mark.parametrize(
    ("packet", "kept"),
    [
        (RDF % (b"<exif:GPSLatitude xmlns:exif='e'>1</exif:GPSLatitude>" * 50_000), True),
        (b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>' + RDF % (b" " * 100_000) + b'<?xpacket end="w"?>', True),
        (RDF % (b"<exif:GPSx>" * 50_000), False),
        (RDF % (b"<xmp:Thumbnails>" * 50_000), False),
        (b"<Container:Directory " * 50_000, False),
        (b'<!DOCTYPE a [<!ENTITY b "bbbb">]>' + RDF % (b"&b;" * 50_000), False),
        (b"\xff" * 100_000, False),
        (b"<a>" * 100_000 + b"</a>" * 100_000, False),  # each element has all those below it
        (RDF % b"".join(b'<a xmlns:n%d="">' % n for n in range(50_000)), False),
        (RDF % (b"<a %s>" % b" ".join(b'xmlns:n%d=""' % n for n in range(5000)) + b'<b xmlns:c=""/>' * 50_000), False),
        (RDF % (b"<a/>" * 1_000_000), False),
    ],
)
def test_xmp(packet: bytes, kept: bool) -> None:
    start = time.process_time()
    assert (xmp.cleaned(packet) is not None) == kept
    assert xmp.has_gps(packet) == (not kept or b"GPS" in packet)
    xmp.without_gps(packet), xmp.without_trailer(packet), xmp.stated_orientation(packet)
    assert time.process_time() - start < 30


def _chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + bytes(4)


def test_many_compressed_texts_have_one_room() -> None:
    text = _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20 << 20)))
    metadata = png.read_metadata(PNG + text * 50 + _chunk(b"tEXt", b"a\0b"))
    assert [len(value) for _, value in metadata.texts] == [20 << 20, 1]
    assert metadata.notes == ("left out a damaged zTXt chunk",)


def _segments(marker: int, payload: bytes, count: int) -> bytes:
    return b"".join(b"\xff%c%s%s" % (marker, (len(payload) + 2).to_bytes(2, "big"), payload) for _ in range(count))


@pytest.mark.parametrize(
    "junk",
    [
        _segments(0xED, b"Photoshop 3.0\0" + b"8BIM", 200_000),
        _segments(0xE2, b"ICC_PROFILE\0" + b"\1\2x", 200_000),
    ],
)
def test_many_segments(junk: bytes, encoded: Callable[..., bytes]) -> None:
    data = encoded("JPEG")
    start = time.process_time()
    jpeg.read_header(data[:2] + junk + data[2:])
    assert time.process_time() - start < 10


def _directories(count: int, entries: int, values: int) -> bytes:
    """A TIFF whose directories lie within each other, and each of whose tags has the whole file for its value."""
    entry = struct.pack("<HHII", 0, 3, values, 0)
    data = bytearray(b"II*\0" + struct.pack("<I", 8) + (struct.pack("<H", entries) + entry * entries))
    for n in range(entries):
        struct.pack_into("<H", data, 10 + 12 * n, n)
    for n in range(1, count):  # behind the last entry of each the next one's place
        at = 8 + 14 * n
        struct.pack_into("<H", data, at, entries)
        data += bytes(max(0, at + 6 + 12 * entries - len(data)))
        struct.pack_into("<I", data, at - 14 + 2 + 12 * entries, at)
    return bytes(data) + bytes(4)


@pytest.mark.parametrize(("count", "entries", "values"), [(1, 65_535, 390_000), (900, 65_535, 1)])
def test_a_tiff_of_overlapping_values_or_directories(count: int, entries: int, values: int) -> None:
    start = time.process_time()
    with pytest.raises(PhotoError):
        open_picture(_directories(count, entries, values), max_pixels=10**6)
    assert time.process_time() - start < 10
