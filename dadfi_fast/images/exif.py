"""EXIF blocks, changed in place: orientation reset, embedded pictures and GPS removed, everything else byte for byte.

A block is a small TIFF file: header, then a directory (IFD0) of 12-byte entries, then a link to the next directory
(IFD1, the preview). Values longer than 4 bytes stand elsewhere in the block, at offsets that MakerNotes refer to as
well, so nothing may move. Source: Exif 2.32 (CIPA DC-008), section 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from dadfi_fast.images import previews
from dadfi_fast.images.guard import is_sane_exif

PREFIX: Final = b"Exif\0\0"
ORIENTATION: Final = 0x0112
GPS: Final = 0x8825
EXIF_IFD: Final = 0x8769
SUB_IFDS: Final = 0x014A
#: Offsets and lengths of a picture that a directory holds: a JPEG, strips, tiles.
_PICTURES: Final = ((0x0201, 0x0202), (0x0111, 0x0117), (0x0144, 0x0145))
#: XMP and Photoshop's resources have places of their own; copies of them in EXIF would escape what is done there.
_FOREIGN: Final = (0x02BC, 0x8649)
_IPTC: Final = 0x83BB
#: Bytes a value of each EXIF type takes.
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
#: Directories that are followed, and strips of a preview.
_MOST: Final = 16
_STRIPS: Final = 4096


@dataclass(frozen=True)
class _Field:
    at: int  # where the entry stands
    tag: int
    kind: int
    count: int


class _InsaneError(ValueError):
    """Its directories claim far more than the block holds."""


class _Block:
    """A mutable copy of an EXIF block without its prefix."""

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(exif.removeprefix(PREFIX))
        if not is_sane_exif(exif):
            raise _InsaneError("more than the block can hold")
        orders = {b"II*\0": "<", b"MM\0*": ">"}
        if bytes(self.data[:4]) not in orders:
            raise ValueError("no TIFF header")
        self.order = orders[bytes(self.data[:4])]
        self.first = self.read("I", 4)
        self.read("H", self.first)

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
        """The entry of a tag; None where there is none before the directory ends or breaks off."""
        with suppress(struct.error):
            return next((field for field in self.fields(directory) if field.tag == tag), None)
        return None

    def number(self, directory: int, tag: int) -> int | None:
        field = self.find(directory, tag)
        return None if field is None else self.read("H" if field.kind == 3 else "I", field.at + 8)

    def numbers(self, field: _Field) -> list[int]:
        """The values of a field of 16 or 32 bits each."""
        kind, size = ("H", 2) if field.kind == 3 else ("I", 4)
        count = min(field.count, _STRIPS)
        at = field.at + 8 if count * size <= 4 else self.read("I", field.at + 8)
        return [self.read(kind, at + size * n) for n in range(count)]

    def link(self, directory: int) -> int:
        """Where the offset of the next directory stands."""
        return directory + 2 + 12 * self.read("H", directory)

    def blank(self, start: int, length: int) -> None:
        length = max(0, min(length, len(self.data) - start))
        self.data[start : start + length] = bytes(length)

    def blank_value(self, field: _Field) -> None:
        size = field.count * _SIZES.get(field.kind, 1)
        if size > 4:
            self.blank(self.read("I", field.at + 8), size)

    def blank_directory(self, directory: int) -> None:
        """Zeros over a directory and over the values that it points to."""
        for field in list(self.fields(directory)):
            self.blank_value(field)
        self.blank(directory, self.link(directory) + 4 - directory)

    def blank_pictures(self, directory: int) -> int:
        """Zeros over the pictures that a directory says it has; where one begins that reaches to the block's end."""
        tail = len(self.data)
        present = {field.tag for field in self.fields(directory)}
        for starts, lengths in _PICTURES:
            if not present.issuperset((starts, lengths)):
                continue
            first, second = self.find(directory, starts), self.find(directory, lengths)
            if first is None or second is None:
                continue
            for start, length in zip(self.numbers(first), self.numbers(second), strict=False):
                self.blank(start, length)
                if length and start + length >= len(self.data):
                    tail = min(tail, start)
        return tail

    def drop(self, directory: int, field: _Field) -> None:
        """Take an entry out of a directory: what follows it, with the link, moves up by one entry."""
        end = self.link(directory) + 4
        self.data[field.at : end - 12] = self.data[field.at + 12 : end]
        self.blank(end - 12, 12)
        self.write("H", directory, self.read("H", directory) - 1)


def orientation(exif: bytes | None) -> int:
    """The orientation that a block asks for, 1 to 8; 1 where there is none or it makes no sense."""
    return stated_orientation(exif) or 1


def stated_orientation(exif: bytes | None) -> int | None:
    """The same; None where the block does not say."""
    if not exif:
        return None
    try:
        block = _Block(exif)
        value = block.number(block.first, ORIENTATION)
    except (ValueError, struct.error):
        return None
    return value if value is not None and 1 <= value <= 8 else None


def has_gps(exif: bytes | None) -> bool:
    """Whether a block says where the photo was taken, or is one in which that is not looked up."""
    if not exif:
        return False
    try:
        block = _Block(exif)
        return any(block.find(at, GPS) is not None for at in _directories(block))
    except _InsaneError:
        return True
    except (ValueError, struct.error):
        return False


def cleaned(exif: bytes | None, *, strip_gps: bool = False) -> bytes | None:
    """The block for the written file, without prefix: upright, and without any picture.

    Previews go, as they are small copies of the unprotected face: the one of IFD1, compressed or not, those of further
    directories, and those that maker notes hold. A block that cannot be read is left out with them.
    """
    if not exif:
        return None
    try:
        block = _Block(exif)
        _reset_orientation(block)
        _drop_previews(block)
        _drop_fields(block, _FOREIGN)
        if strip_gps:
            _drop_gps(block)
    except (ValueError, struct.error):
        return None
    previews.blank(block.data)
    return bytes(block.data)


def without_gps(exif: bytes) -> bytes:
    """The block without prefix and without GPS, of the same length, all else as it was (for photos that are copied)."""
    try:
        block = _Block(exif)
        _drop_gps(block)
    except (ValueError, struct.error):
        return b""
    return bytes(block.data)


def _directories(block: _Block) -> Iterator[int]:
    """Where fields about the photo may stand: IFD0, EXIF, IFD1."""
    yield block.first
    with suppress(struct.error):
        inner = block.number(block.first, EXIF_IFD)
        if inner:
            block.read("H", inner)
            yield inner
    with suppress(struct.error):
        second = block.read("I", block.link(block.first))
        if second:
            block.read("H", second)
            yield second


def _reset_orientation(block: _Block) -> None:
    for directory in list(_directories(block)):
        field = block.find(directory, ORIENTATION)
        if field is not None:
            block.write("H" if field.kind == 3 else "I", field.at + 8, 1)


def _drop_previews(block: _Block) -> None:
    """Every directory behind IFD0 and below it, with its pictures; and what IFD0 itself says that it has."""
    with suppress(struct.error):
        block.blank_pictures(block.first)
    below = block.find(block.first, SUB_IFDS)
    if below is not None:
        for directory in block.numbers(below)[:_MOST]:
            _blank_preview(block, directory)
    _drop_fields(block, (SUB_IFDS, *(tag for pair in _PICTURES for tag in pair)))
    link = block.link(block.first)
    directory = block.read("I", link)
    block.write("I", link, 0)
    for _ in range(_MOST):
        if not directory:
            break
        directory = _blank_preview(block, directory)


def _blank_preview(block: _Block, directory: int) -> int:
    """Zeros over a directory and its pictures; the next directory, 0 at the end and where this one makes no sense."""
    try:
        following = block.read("I", block.link(directory))
        tail = block.blank_pictures(directory)
        block.blank_directory(directory)
    except struct.error:
        return 0
    if tail > directory:  # it stood at the end, as it does in most cameras
        del block.data[tail:]
    return following


def _drop_fields(block: _Block, tags: tuple[int, ...]) -> None:
    """Entries of IFD0, with their values."""
    present = {field.tag for field in block.fields(block.first)}
    for tag in present.intersection(tags):
        while (field := block.find(block.first, tag)) is not None:
            block.blank_value(field)
            block.drop(block.first, field)


def _drop_gps(block: _Block) -> None:
    for directory in list(_directories(block)):
        while (field := block.find(directory, GPS)) is not None:
            with suppress(struct.error):  # it points to nowhere
                block.blank_directory(block.read("I", field.at + 8))
            block.drop(directory, field)
    _drop_fields(block, (*_FOREIGN, _IPTC))
