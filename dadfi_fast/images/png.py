"""PNG chunks: metadata for a stream that an encoder wrote without any (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from dadfi_fast.types import Metadata

_HEADER_END: Final = 8 + 25  # signature and IHDR
_INCH: Final = 0.0254


def with_metadata(encoded: bytes, metadata: Metadata) -> bytes:
    """An encoder's stream with ICC profile, resolution, EXIF and XMP put in behind its first chunk."""
    return b"".join((encoded[:_HEADER_END], *_chunks(metadata), memoryview(encoded)[_HEADER_END:]))


def _chunks(metadata: Metadata) -> Iterator[bytes]:
    if metadata.icc:
        yield _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc))
    if metadata.dpi:
        x, y = (round(n / _INCH) for n in metadata.dpi)
        yield _chunk(b"pHYs", struct.pack(">IIB", x, y, 1))
    if metadata.exif:
        yield _chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        yield _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)


def _chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
