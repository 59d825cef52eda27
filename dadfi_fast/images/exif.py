"""EXIF blocks, changed in place: orientation reset, embedded pictures and GPS removed, everything else byte for byte.

A block is a small TIFF file: header, then a directory (IFD0) of 12-byte entries, then a link to the next directory
(IFD1, the preview). Values longer than 4 bytes stand elsewhere in the block, at offsets that MakerNotes refer to as
well, so nothing may move. Source: Exif 2.32 (CIPA DC-008), section 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from dadfi_fast.images import maker_notes, previews
from dadfi_fast.images.guard import is_sane_exif
from dadfi_fast.images.maker_notes import SIZES

PREFIX: Final = b"Exif\0\0"
ORIENTATION: Final = 0x0112
GPS: Final = 0x8825
EXIF_IFD: Final = 0x8769
SUB_IFDS: Final = 0x014A
_INTEROP: Final = 0xA005
_MAKER_NOTE: Final = 0x927C
_TIFF: Final = (b"II*\0", b"MM\0*")
#: Offsets and lengths of a picture that a directory holds: a JPEG, strips, tiles.
_PICTURES: Final = ((0x0201, 0x0202), (0x0111, 0x0117), (0x0144, 0x0145))
#: XMP and Photoshop's resources have places of their own; copies of them in EXIF would escape what is done there.
_FOREIGN: Final = (0x02BC, 0x8649)
_IPTC: Final = 0x83BB
#: How `struct` calls whole numbers of one byte and of two; all others have four.
_KINDS: Final = {1: "B", 3: "H", 6: "B"}
_STRUCTS: Final = {order: {kind: struct.Struct(order + kind) for kind in "BHI"} for order in "<>"}
#: Directories that are followed, and strips of a preview.
_MOST: Final = 16
_STRIPS: Final = 4096
_HEADER: Final = 8
#: Bytes from which on a value that nobody can read may be a picture in which a face can be seen: 64 x 64 in grey.
_PICTURE: Final = 4096
_LARGEST: Final = max(SIZES.values())


class _Field(NamedTuple):
    at: int  # where the entry stands
    tag: int
    kind: int
    values: int


class _Read(NamedTuple):
    """What is known of a directory."""

    tags: list[int]
    entries: list[tuple[int, int, int]]  # tag, kind and number of values
    whole: bool  # else it breaks off


class _InsaneError(ValueError):
    """Its directories claim far more than the block holds."""


class _Block:
    """A mutable copy of an EXIF block without its prefix."""

    def __init__(self, exif: bytes, *, trusted: bool = False) -> None:
        self.data = bytearray(exif.removeprefix(PREFIX))
        if not (trusted or is_sane_exif(exif)):
            raise _InsaneError("more than the block can hold")
        orders = {b"II*\0": "<", b"MM\0*": ">"}
        if bytes(self.data[:4]) not in orders:
            raise ValueError("no TIFF header")
        self.order = orders[bytes(self.data[:4])]
        self._structs = _STRUCTS[self.order]
        self._read: dict[int, _Read] = {}
        self.first = self.read("I", 4)
        self.read("H", self.first)

    def read(self, kind: str, at: int) -> int:
        value: int = self._structs[kind].unpack_from(self.data, at)[0]
        return value

    def write(self, kind: str, at: int, value: int) -> None:
        struct.pack_into(self.order + kind, self.data, at, value)
        self._forget(at, at + 4)

    def _forget(self, start: int, end: int) -> None:
        """What was read of directories between two places in ``data``, which change."""
        for directory in [d for d, (tags, _, _) in self._read.items() if d < end and start < d + 14 + 12 * len(tags)]:
            del self._read[directory]

    def changed(self) -> None:
        """To be called after a change of ``data`` by others."""
        self._read.clear()

    def cut(self, at: int) -> None:
        """Leave out what stands from ``at`` on."""
        self._forget(at, len(self.data))
        del self.data[at:]

    def tags(self, directory: int) -> list[int]:
        """The tag of each entry."""
        tags, _, whole = self._directory(directory)
        if not whole:
            raise struct.error("the directory breaks off")
        return tags

    def _directory(self, directory: int) -> _Read:
        if directory not in self._read:
            count, at = self.read("H", directory), directory + 2
            body = bytes(self.data[at : at + 12 * count])
            entries = list(struct.iter_unpack(self.order + "HHI4x", body[: len(body) // 12 * 12]))
            self._read[directory] = _Read([tag for tag, _, _ in entries], entries, len(body) == 12 * count)
        return self._read[directory]

    def fields(self, directory: int, least: int = 0) -> list[_Field]:
        """The entries whose values have at least so many bytes."""
        _, entries, whole = self._directory(directory)
        if not whole:
            raise struct.error("the directory breaks off")
        few = least // _LARGEST
        return [
            _Field(directory + 2 + 12 * n, *entry)
            for n, entry in enumerate(entries)
            if entry[2] >= few and entry[2] * SIZES.get(entry[1], 1) >= least
        ]

    def find(self, directory: int, tag: int) -> _Field | None:
        """The entry of a tag; None where there is none before the directory ends or breaks off."""
        try:
            tags, entries, _ = self._directory(directory)
        except struct.error:
            return None
        if tag not in tags:
            return None
        n = tags.index(tag)
        return _Field(directory + 2 + 12 * n, *entries[n])

    def number(self, directory: int, tag: int) -> int | None:
        field = self.find(directory, tag)
        return None if field is None else self.read(_KINDS.get(field.kind, "I"), field.at + 8)

    def numbers(self, field: _Field) -> list[int]:
        """The values of a field of 16 or 32 bits each."""
        kind, size = ("H", 2) if field.kind == 3 else ("I", 4)
        count = min(field.values, _STRIPS)
        at = field.at + 8 if count * size <= 4 else self.read("I", field.at + 8)
        return [self.read(kind, at + size * n) for n in range(count)]

    def link(self, directory: int) -> int:
        """Where the offset of the next directory stands."""
        return directory + 2 + 12 * self.read("H", directory)

    def blank(self, start: int, length: int) -> None:
        length = max(0, min(length, len(self.data) - start))
        self.data[start : start + length] = bytes(length)
        self._forget(start, start + length)

    def blank_value(self, field: _Field) -> None:
        size = field.values * SIZES.get(field.kind, 1)
        if size > 4:
            self.blank(self.read("I", field.at + 8), size)

    def blank_directory(self, directory: int) -> None:
        """Zeros over a directory and over the values that it points to."""
        for field in self.fields(directory, least=5):
            self.blank_value(field)
        self.blank(directory, self.link(directory) + 4 - directory)

    def blank_pictures(self, directory: int) -> int:
        """Zeros over the pictures that a directory says it has; where one begins that reaches to the block's end."""
        tail = len(self.data)
        present = self.tags(directory)
        for starts, lengths in _PICTURES:
            if starts not in present or lengths not in present:
                continue
            first, second = self.find(directory, starts), self.find(directory, lengths)
            if first is None or second is None:
                continue
            for start, length in zip(self.numbers(first), self.numbers(second), strict=False):
                if start < _HEADER:  # numbers that mean something else
                    continue
                self.blank(start, length)
                if length and start + length >= len(self.data):
                    tail = min(tail, start)
        return tail

    def drop(self, directory: int, field: _Field) -> None:
        """Take an entry out of a directory: what follows it, with the link, moves up by one entry."""
        end = self.link(directory) + 4
        self.data[field.at : end - 12] = self.data[field.at + 12 : end]
        self._forget(field.at, end)
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
        return _stated_orientation(_Block(exif))
    except (ValueError, struct.error):
        return None


def _stated_orientation(block: _Block) -> int | None:
    value = block.number(block.first, ORIENTATION)
    return value if value is not None and 1 <= value <= 8 else None


def has_gps(exif: bytes | None) -> bool:
    """Whether a block says where the photo was taken, or may do so: unreadable, or with a copy of XMP or IPTC."""
    if not exif:
        return False
    try:
        block = _Block(exif)
        return any(block.find(at, tag) is not None for at in _all_directories(block) for tag in (GPS, *_FOREIGN, _IPTC))
    except (ValueError, struct.error):
        return any(exif)


class Cleaned(NamedTuple):
    """A block for the written file, without prefix, and what else is to be known of it."""

    block: bytes | None  # None where there is none, or it cannot be read
    orientation: int | None  # 1 to 8, as it was stated
    unread: tuple[str, ...]  # see `unread`


def cleaned(exif: bytes | None, *, strip_gps: bool = False) -> bytes | None:
    """The block of `clean`."""
    return clean(exif, strip_gps=strip_gps).block


def clean(exif: bytes | None, *, strip_gps: bool = False) -> Cleaned:
    """The block upright, and without any picture.

    Previews go, as they are small copies of the unprotected face: the one of IFD1, compressed or not, those of further
    directories, and those that maker notes hold. A block that cannot be read is left out with them.
    """
    stated = None
    if not exif:
        return Cleaned(None, None, ())
    try:
        block = _Block(exif)
        stated = _stated_orientation(block)
        _reset_orientation(block)
        if strip_gps:  # first: what previews' directories point to is not to be found once they are gone
            _drop_gps(block)
        _drop_previews(block)
        _drop_fields(block, _FOREIGN)
    except (ValueError, struct.error):
        return Cleaned(None, stated, ())
    changed = _blank_nested(block.data)
    if changed:
        block.changed()
    changed |= _blank_noted(block)
    changed |= previews.blank(block.data) > 0
    result = bytes(block.data)
    return Cleaned(result, stated, unread(result) if changed else _unread(block))


def without_gps(exif: bytes) -> bytes:
    """The block without prefix and without GPS, of the same length, all else as it was (for photos that are copied)."""
    try:
        block = _Block(exif)
        _drop_gps(block)
    except (ValueError, struct.error):
        return b""
    return bytes(block.data)


def unread(exif: bytes | None) -> tuple[str, ...]:
    """What in a `cleaned` block nobody can read and is large enough for a picture of a face, for people.

    These are values of bytes that are no text, and maker notes that are encrypted or of an unknown make: what a maker
    note says in a directory as EXIF has them, in small values, counts as read.
    """
    if not exif or len(exif) < _PICTURE:
        return ()
    try:
        return _unread(_Block(exif, trusted=True))
    except (ValueError, struct.error):
        return ()


def _unread(block: _Block) -> tuple[str, ...]:
    names: list[str] = []
    if len(block.data) < _PICTURE:
        return ()
    with suppress(ValueError, struct.error):
        for directory in _directories(block):
            for field in block.fields(directory, least=_PICTURE):
                size = field.values * SIZES.get(field.kind, 1)
                start = block.read("I", field.at + 8)
                value = bytes(block.data[start : start + size])
                if field.tag == _MAKER_NOTE:
                    names += ["maker notes"] if maker_notes.is_unread(block.data, start, value) else []
                elif previews.is_opaque(value):
                    names.append("EXIF")
    return tuple(dict.fromkeys(names))


def _blank_noted(block: _Block) -> bool:
    """Zeros over the previews that the directory of a maker note names; whether there are any."""
    with suppress(struct.error):
        inner = block.number(block.first, EXIF_IFD)
        field = block.find(inner, _MAKER_NOTE) if inner else None
        if field is not None and field.values > 4:
            return maker_notes.blank_previews(block.data, block.read("I", field.at + 8), field.values)
    return False


def _blank_nested(data: bytearray) -> bool:
    """Zeros over pictures of TIFF files within the block: maker notes hold some, and directories of that form.

    Whether there is such a file.
    """
    any_found = False
    for header in _TIFF:
        at = data.find(header, _HEADER)
        for _ in range(_MOST):
            if at < 0:
                break
            any_found = True
            with suppress(ValueError, struct.error):
                inner = _Block(bytes(data[at:]))
                for directory in _all_directories(inner):
                    with suppress(struct.error):
                        inner.blank_pictures(directory)
                data[at:] = inner.data
            at = data.find(header, at + 1)
    return any_found


def _all_directories(block: _Block) -> list[int]:
    """Every directory that can be reached: the chain, those below EXIF's two, previews'."""
    directories: dict[int, None] = {}
    waiting = [block.first]
    while waiting and len(directories) < _MOST:
        directory = waiting.pop(0)
        if not directory or directory in directories:
            continue
        with suppress(struct.error):
            block.read("H", directory)
            directories[directory] = None
            for tag in (EXIF_IFD, _INTEROP, SUB_IFDS):
                field = block.find(directory, tag)
                waiting += [] if field is None else block.numbers(field)[:_MOST]
            waiting.append(block.read("I", block.link(directory)))
    return list(directories)


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
        kind = "I" if field is None else _KINDS.get(field.kind, "I")
        if field is not None and block.read(kind, field.at + 8) != 1:
            block.write(kind, field.at + 8, 1)


def _drop_previews(block: _Block) -> None:
    """Every directory behind IFD0 and below it, with its pictures; and what IFD0 and EXIF's say that they have."""
    inner = block.number(block.first, EXIF_IFD)
    for directory in (block.first, inner or 0, block.number(inner, _INTEROP) or 0 if inner else 0):
        with suppress(struct.error):
            if directory:
                block.blank_pictures(directory)
    with suppress(struct.error):
        if inner and (behind := block.read("I", block.link(inner))):
            block.write("I", block.link(inner), 0)
            _blank_preview(block, behind)
    below = block.find(block.first, SUB_IFDS)
    if below is not None:
        for directory in block.numbers(below)[:_MOST]:
            _blank_preview(block, directory)
    _drop_fields(block, (SUB_IFDS, *(tag for pair in _PICTURES for tag in pair)))
    link = block.link(block.first)
    directory = block.read("I", link)
    if directory:
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
        block.cut(tail)
    return following


def _drop_fields(block: _Block, tags: tuple[int, ...], directory: int | None = None) -> None:
    """Entries of a directory (IFD0), with their values."""
    directory = block.first if directory is None else directory
    present = {*block.tags(directory)}
    for tag in present.intersection(tags):
        while (field := block.find(directory, tag)) is not None:
            block.blank_value(field)
            block.drop(directory, field)


def _drop_gps(block: _Block) -> None:
    for directory in _all_directories(block):
        while (field := block.find(directory, GPS)) is not None:
            with suppress(struct.error):  # it points to nowhere
                _blank_chain(block, block.read("I", field.at + 8))
            block.drop(directory, field)
        with suppress(struct.error):  # it breaks off
            _drop_fields(block, (*_FOREIGN, _IPTC), directory)


def _blank_chain(block: _Block, directory: int) -> None:
    """Zeros over a directory, and over those that it links to."""
    for _ in range(_MOST):
        if not directory:
            return
        following = block.read("I", block.link(directory))
        block.blank_directory(directory)
        directory = following
