"""Files that claim to be more than they are: found out in time that goes with their size."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import pytest

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.guard import bounded, check_lengths, is_xml
from dadfi_fast.types import Metadata

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


def exif(entries: int, *, count: int, order: str = "<", kind: int = 7) -> bytes:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    fields = b"".join(struct.pack(order + "HHII", 0x9000 + n % 100, kind, count, 8) for n in range(entries))
    return head + struct.pack(order + "H", entries) + fields + bytes(4)


@pytest.mark.parametrize(
    ("block", "kept"),
    [
        (exif(65_535, count=8_000_000) + bytes(8_000_000), False),  # every value the whole block
        (exif(65_535, count=8_000_000, order=">") + bytes(8_000_000), False),
        (exif(65_535, count=1), False),
        (exif(10, count=1 << 31, kind=12), False),
        (exif(200, count=100) + bytes(20_000), True),
        (exif(1, count=1)[:-9], True),  # breaks off
        (b"Exif\0\0" + exif(3, count=4), True),
        (b"II*\0", True),
        (b"", True),
        (b"II*\0\xff\xff\xff\xff", True),
    ],
)
def test_exif(block: bytes, kept: bool) -> None:
    start = time.process_time()
    assert (bounded(Metadata(exif=block)).exif == block) == kept
    assert time.process_time() - start < 2


RDF = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a>%s</a></x:xmpmeta>'


@pytest.mark.parametrize(
    ("packet", "kept"),
    [
        (RDF % (b"<exif:GPSLatitude xmlns:exif='e'>1</exif:GPSLatitude>" * 50_000), True),
        (b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>' + RDF % (b" " * 100_000) + b'<?xpacket end="w"?>', True),
        (RDF % b"<exif:GPSx>" * 40, True),  # short
        (RDF % (b"<exif:GPSx>" * 50_000), False),
        (RDF % (b"<xmp:Thumbnails>" * 50_000), False),
        (b"<Container:Directory " * 50_000, False),
        (b'<!DOCTYPE a [<!ENTITY b "bbbb">]>' + RDF % (b"&b;" * 50_000), False),
        (b"\xff" * 100_000, False),
    ],
)
def test_xmp(packet: bytes, kept: bool) -> None:
    start = time.process_time()
    assert (bounded(Metadata(xmp=packet)).xmp == packet) == kept
    assert time.process_time() - start < 2


def test_deep_nesting_is_xml_and_quick() -> None:
    start = time.process_time()
    assert is_xml(b"<a>" * 100_000 + b"</a>" * 100_000)
    assert time.process_time() - start < 2
