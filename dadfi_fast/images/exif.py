"""EXIF blocks, changed in place: orientation reset, embedded preview and GPS removed, everything else byte for byte.

A block is a small TIFF file: header, then a directory (IFD0) of 12-byte entries, then a link to the next directory
(IFD1, the preview). Values longer than 4 bytes stand elsewhere in the block, at offsets that MakerNotes refer to as
well, so nothing may move. Source: Exif 2.32 (CIPA DC-008), section 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PREFIX: Final = b"Exif\0\0"
ORIENTATION: Final = 0x0112
GPS: Final = 0x8825
PREVIEW_OFFSET: Final = 0x0201
PREVIEW_LENGTH: Final = 0x0202
#: Bytes a value of each EXIF type takes.
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


@dataclass(frozen=True)
class _Field:
    at: int  # where the entry stands
    tag: int
    kind: int
    count: int


class _Block:
    """A mutable copy of an EXIF block without its prefix."""

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(exif.removeprefix(PREFIX))
        orders = {b"II*\0": "<", b"MM\0*": ">"}
        if bytes(self.data[:4]) not in orders:
            raise ValueError("no TIFF header")
        self.order = orders[bytes(self.data[:4])]
        self.first = self.read("I", 4)

    def read(self, kind: str, at: int) -> int:
        value: int = struct.unpack_from(self.order + kind, self.data, at)[0]
        return value

    def write(self, kind: str, at: int, value: int) -> None:
        struct.pack_into(self.order + kind, self.data, at, value)

    def fields(self, directory: int) -> Iterator[_Field]:
        for number in range(self.read("H", directory)):
            at = directory + 2 + 12 * number
            yield _Field(at, self.read("H", at), self.read("H", at + 2), self.read("I", at + 4))

    def find(self, directory: int, tag: int) -> _Field | None:
        return next((field for field in self.fields(directory) if field.tag == tag), None)

    def number(self, directory: int, tag: int) -> int | None:
        field = self.find(directory, tag)
        return None if field is None else self.read("H" if field.kind == 3 else "I", field.at + 8)

    def link(self, directory: int) -> int:
        """Where the offset of the next directory stands."""
        return directory + 2 + 12 * self.read("H", directory)

    def blank(self, start: int, length: int) -> None:
        length = max(0, min(length, len(self.data) - start))
        self.data[start : start + length] = bytes(length)

    def blank_directory(self, directory: int) -> None:
        """Zeros over a directory and over the values that it points to."""
        for field in list(self.fields(directory)):
            size = field.count * _SIZES.get(field.kind, 1)
            if size > 4:
                self.blank(self.read("I", field.at + 8), size)
        self.blank(directory, self.link(directory) + 4 - directory)

    def drop(self, field: _Field) -> None:
        """Take an entry out of IFD0: what follows it, with the link, moves up by one entry."""
        end = self.link(self.first) + 4
        self.data[field.at : end - 12] = self.data[field.at + 12 : end]
        self.blank(end - 12, 12)
        self.write("H", self.first, self.read("H", self.first) - 1)


def orientation(exif: bytes | None) -> int:
    """The orientation that a block asks for, 1 to 8; 1 where there is none or it makes no sense."""
    if not exif:
        return 1
    try:
        block = _Block(exif)
        value = block.number(block.first, ORIENTATION)
    except (ValueError, struct.error):
        return 1
    return value if value is not None and 1 <= value <= 8 else 1


def has_gps(exif: bytes | None) -> bool:
    """Whether a block says where the photo was taken."""
    if not exif:
        return False
    try:
        block = _Block(exif)
        return block.find(block.first, GPS) is not None
    except (ValueError, struct.error):
        return False


def cleaned(exif: bytes | None, *, strip_gps: bool = False) -> bytes | None:
    """The block for the written file, without prefix: upright, and without the embedded preview.

    The preview goes, as it is a small copy of the unprotected face. A block that cannot be read is left out with it.
    """
    if not exif:
        return None
    try:
        block = _Block(exif)
        _reset_orientation(block)
        _drop_preview(block)
        if strip_gps:
            _drop_gps(block)
    except (ValueError, struct.error):
        return None
    return bytes(block.data)


def without_gps(exif: bytes) -> bytes:
    """The block without prefix and without GPS, all else as it was (for photos that are copied)."""
    try:
        block = _Block(exif)
        _drop_gps(block)
    except (ValueError, struct.error):
        return b""
    return bytes(block.data)


def _reset_orientation(block: _Block) -> None:
    field = block.find(block.first, ORIENTATION)
    if field is not None:
        block.write("H" if field.kind == 3 else "I", field.at + 8, 1)


def _drop_preview(block: _Block) -> None:
    link = block.link(block.first)
    directory = block.read("I", link)
    block.write("I", link, 0)
    if not directory:
        return
    start, length = (block.number(directory, tag) for tag in (PREVIEW_OFFSET, PREVIEW_LENGTH))
    block.blank_directory(directory)
    if start and length:
        block.blank(start, length)
        if start + length >= len(block.data):  # it stood at the end, as it does in most cameras
            del block.data[start:]


def _drop_gps(block: _Block) -> None:
    field = block.find(block.first, GPS)
    if field is not None:
        block.blank_directory(block.read("I", field.at + 8))
        block.drop(field)
