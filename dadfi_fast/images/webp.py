"""WebP: places taken out of the chunks of a file (RFC 9649, section 2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from dadfi_fast.images import exif, xmp

#: What the picture is made of, its frames and its profile.
_PICTURE: Final = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"VP8X"))
_EXIF, _XMP = b"EXIF", b"XMP "
#: In the flags of VP8X: that there is EXIF, and XMP.
_FLAGS: Final = {_EXIF: 8, _XMP: 4}


def without_gps(data: bytes) -> bytes:
    """A WebP file with all places taken out of its metadata; the picture as it was, and chunks of others gone.

    Returns:
        ``data`` itself where it names no place, holds nothing unknown and ends where it says.
    """
    chunks = list(_chunks(data))
    kept = [(name, left) for name, payload in chunks if (left := _placeless(name, payload)) is not None]
    if kept == chunks and len(data) <= 8 + int.from_bytes(data[4:8], "little") + 1:
        return data
    names = {name for name, _ in kept}
    gone = sum(flag for name, flag in _FLAGS.items() if name not in names)
    body = b"".join(_chunk(name, _flagged(payload, gone) if name == b"VP8X" else payload) for name, payload in kept)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and payload of each chunk up to the end that the file states, or its own."""
    at, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, data[at + 8 : min(end, at + 8 + size)]
        at += 8 + size + size % 2


def _placeless(name: bytes, payload: bytes) -> bytes | None:
    """What a chunk becomes; None where nothing is left of it."""
    if name == _EXIF:
        return (exif.without_gps(payload) or None) if exif.has_gps(payload) else payload
    if name == _XMP:
        return (xmp.without_gps(payload) or None) if xmp.has_gps(payload) else payload
    return payload if name in _PICTURE else None


def _flagged(payload: bytes, gone: int) -> bytes:
    return bytes((payload[0] & ~gone,)) + payload[1:] if payload else payload


def _chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack("<4sI", name, len(payload)) + payload + b"\0" * (len(payload) % 2)
