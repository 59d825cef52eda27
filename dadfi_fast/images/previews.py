"""Pictures inside metadata: maker notes, thumbnails, base64 in XMP. They show the face as it was, so they go.

A JPEG is found by its structure (SOI, then whole segments up to a scan), not by its first bytes alone, and from its
second byte on: Minolta's cameras change the first one.
Source: ITU-T T.81, annex B; PNG specification, third edition, 5.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

#: The second byte of SOI with the marker that follows it: a table, a frame, an APPn or a comment.
_JPEG: Final = re.compile(rb"\xd8\xff(?=[\xc0-\xc4\xdb\xdd\xe0-\xef\xfe])")
_PNG: Final = re.compile(rb"\x89PNG\r\n\x1a\n")
#: A marker within the scans that is neither a stuffed byte, nor a restart, nor a fill byte.
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_TABLES: Final = frozenset({0xDB, 0xC4, *range(0xC0, 0xC4)})
_SEGMENTS: Final = 64  # more stand before no preview's scan
_SOS, _EOI = 0xDA, 0xD9
#: A picture as text: how base64 of JPEG, PNG, WebP, GIF, TIFF and HEIF begins, and a JPEG in hexadecimal, with so much
#: behind it that a face could be seen. White space may stand between, also as a reference.
_AS_TEXT: Final = re.compile(
    rb"(?:/9j/|iVBORw0K|UklGR|R0lGOD|SUkqA|TU0AK|AAAA[A-Za-z0-9+/]{2}Z0eX)(?:[A-Za-z0-9+/=\s]|&#x?[0-9A-Fa-f]+;){150}"
    rb"|ffd8ff[ed][0-9a-f](?:[0-9a-f\s]){300}",
    re.IGNORECASE,
)


def is_picture_as_text(text: bytes) -> bool:
    """Whether a picture stands in ``text``, in base64 or in hexadecimal."""
    return _AS_TEXT.search(text) is not None


def pictures(block: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Where each JPEG and PNG in ``block`` begins and ends; one without its end reaches to the end of the block."""
    at = 0
    while found := _JPEG.search(block, at):
        end = _jpeg_end(block, found.start() + 1) if found.start() else 0
        if end:
            yield found.start() - 1, end
        at = end or found.start() + 1
    for found in _PNG.finditer(block):
        end = block.find(b"IEND", found.end())
        yield found.start(), len(block) if end < 0 else min(len(block), end + 8)


def blank(block: bytearray) -> int:
    """Zeros over every picture in ``block``; nothing moves. The number of pictures."""
    places = list(pictures(block))
    for start, end in places:
        block[start:end] = bytes(end - start)
    return len(places)


def _jpeg_end(block: bytes | bytearray, at: int) -> int:
    """Where the JPEG ends whose first marker stands at ``at``; 0 where there is none."""
    tables = False
    for _ in range(_SEGMENTS):
        if at + 4 > len(block) or block[at] != 0xFF:
            return len(block) if tables and at + 4 > len(block) else 0
        marker, end = block[at + 1], at + 2 + int.from_bytes(block[at + 2 : at + 4], "big")
        if end < at + 4:
            return 0
        if marker == _SOS:
            return _scans_end(block, end) if tables else 0
        tables = tables or marker in _TABLES
        at = end
    return 0


def _scans_end(block: bytes | bytearray, at: int) -> int:
    while found := _MARKER.search(block, at):
        if block[found.start() + 1] == _EOI:
            return found.end()
        at = found.end() + int.from_bytes(block[found.end() : found.end() + 2], "big")
    return len(block)
