"""TIFF tags: metadata for a file that an encoder wrote without any (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct
from typing import Any, Final

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from dadfi_fast.images.iptc import iptc_of
from dadfi_fast.types import Metadata

_XMP: Final = 700
_ICC: Final = 34675
_PHOTOSHOP: Final = 34377
_IPTC: Final = 33723
_EXTRA_SAMPLES: Final = 338
_UNASSOCIATED: Final = 2
_RESOLUTION: Final = (282, 283)
_UNIT: Final = 296
_INCH: Final = 2
#: The type of bytes that mean something to others.
_UNDEFINED: Final = 7


def tags(metadata: Metadata) -> dict[int, Any]:
    """The tags that carry metadata, as Pillow wants them."""
    values: dict[int, Any] = {}
    if metadata.exif:
        block = Image.Exif()
        block.load(b"Exif\0\0" + metadata.exif)
        for tag in block:
            values[tag] = dict(block.get_ifd(tag)) if tag in (34665, 34853) else block[tag]
    if metadata.xmp:
        values[_XMP] = metadata.xmp
    if metadata.photoshop:
        values[_PHOTOSHOP] = metadata.photoshop
        if records := iptc_of(metadata.photoshop):
            values[_IPTC] = records
    if metadata.icc:
        values[_ICC] = metadata.icc
    if metadata.dpi:
        values.update(zip(_RESOLUTION, metadata.dpi, strict=True))
        values[_UNIT] = _INCH
    return values


def with_metadata(encoded: bytes, metadata: Metadata, *, alpha: bool = False) -> bytes:
    """An encoder's file (one picture) with the tags added: a new directory behind it, which the header now points to.

    Pillow writes the values; its directory is merged with the encoder's, whose entries stay valid, as nothing moves.
    ``alpha``: the sample behind the colours is that, not multiplied into them.
    """
    extra = tags(metadata) | ({_EXTRA_SAMPLES: _UNASSOCIATED} if alpha else {})
    if not extra:
        return encoded
    order = "<" if encoded[:2] == b"II" else ">"
    directory = ImageFileDirectory_v2(ifh=encoded[:8])
    for tag, value in extra.items():
        if tag in (_PHOTOSHOP, _IPTC):
            directory.tagtype[tag] = _UNDEFINED
        directory[tag] = value
    body = encoded + b"\0" * (len(encoded) % 2)
    body += directory.tobytes(len(body))
    entries = _entries(body, struct.unpack_from(order + "I", encoded, 4)[0], order)
    entries |= _entries(body, len(encoded) + len(encoded) % 2, order)
    table = struct.pack(order + "H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    body += b"\0" * (len(body) % 2)
    return body[:4] + struct.pack(order + "I", len(body)) + body[8:] + table


def _entries(data: bytes, at: int, order: str) -> dict[int, bytes]:
    """Tag -> entry of the directory at ``at``."""
    (count,) = struct.unpack_from(order + "H", data, at)
    entries = (data[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(count))
    return {struct.unpack_from(order + "H", entry)[0]: entry for entry in entries}
