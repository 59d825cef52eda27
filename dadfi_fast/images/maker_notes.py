"""Maker notes that are a directory as EXIF has them: the previews that it names, and what of a note it explains.

Makers do not publish their layouts. Source of headers, tags and what places count from: ExifTool 12.57, MakerNotes.pm,
Canon.pm, Casio.pm, Minolta.pm, Nikon.pm, Olympus.pm, Pentax.pm, Samsung.pm, Sony.pm.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from dadfi_fast.images.previews import ENOUGH, filled

#: Bytes a value of each EXIF type takes.
SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BYTE, _SHORT, _LONG, _UNDEFINED, _IFD = 1, 3, 4, 7, 13
#: Where the directory of a note may begin; names of makers stand before it.
_NAMED: Final = range(0, 34, 2)
_MOST_ENTRIES: Final = 512
_MOST_STRIPS: Final = 64
_HEADER: Final = 8  # of a TIFF file: places of Nikon's notes count from one before the directory
_TIFF: Final = (b"II*\0", b"MM\0*")
#: Tags of a preview's place and length: Minolta and Olympus (two), Pentax and Casio, Olympus's camera settings; as in
#: EXIF, compressed or in strips.
_PAIRS: Final = (
    (0x0088, 0x0089), (0x1036, 0x1037), (0x0004, 0x0003), (0x0101, 0x0102), (0x0201, 0x0202), (0x0111, 0x0117),
)  # fmt: skip
#: Tags whose value is a preview: Minolta, Olympus, Casio, Sony.
_VALUES: Final = (0x0081, 0x0100, 0x2000, 0x2001)
#: Canon's list of numbers about the preview, of which these are its length and its place.
_CANON, _CANON_LENGTH, _CANON_PLACE = 0x00B6, 2, 5
#: Tags of a directory below: Nikon's and Samsung's of the preview, Olympus's camera settings.
_BELOW: Final = (0x0011, 0x0035, 0x2020)
_NAMING: Final = frozenset({_CANON, *_VALUES, *_BELOW, *(tag for pair in _PAIRS for tag in pair)})


class _Entry(NamedTuple):
    tag: int
    kind: int
    number: int  # of values
    value: int  # as four bytes; a place where the value is longer

    @property
    def size(self) -> int:
        return self.number * SIZES[self.kind]


class _Directory(NamedTuple):
    at: int  # in the block
    order: str  # as `struct` has it
    entries: list[tuple[int, int, int, int]]  # tag, kind, number of values, and the value or its place

    @property
    def end(self) -> int:
        return self.at + 2 + 12 * len(self.entries)


def blank_previews(data: bytearray, start: int, size: int) -> bool:
    """Zeros over the previews that a maker note's directory says it has, whatever is in them; nothing moves.

    Whether it has any.

    Args:
        data: the EXIF block, without prefix.
        start: where the note begins in it.
        size: bytes of the note.
    """
    end = min(len(data), start + size)
    directories = (_directory(data, start + at, order, end) for at, order in itertools.product(_NAMED, "<>"))
    directory = next((each for each in directories if each is not None), None)
    if directory is None or _NAMING.isdisjoint([tag for tag, _, _, _ in directory.entries]):
        return False
    base = _base(data, directory, start, end)
    changed = False
    for offset, length in list(_previews(data, directory, base)):
        for first in (base + offset, offset):  # Pentax's count from the beginning of the block, always
            apart = first + length <= directory.at or first >= directory.end
            if length >= ENOUGH and first >= _HEADER and first + length <= len(data) and apart:
                data[first : first + length] = bytes(length)
                changed = True
                break
    return changed


def is_unread(data: bytearray, start: int, note: bytes) -> bool:
    """Whether enough bytes of a maker note for a picture of a face belong to no small value of a directory in it.

    Zeros do not count.
    """
    for at, order in itertools.product(_NAMED, "<>"):
        directory = _directory(data, start + at, order, start + len(note))
        if directory is not None and _explains(directory, start, note):
            return False
    return filled(note) >= ENOUGH


def _explains(directory: _Directory, start: int, note: bytes) -> bool:
    """Whether fewer than `ENOUGH` bytes of a note are outside of its directory and its small values."""
    spans = [(directory.at + 2 - start, directory.end - start), *_small_values(directory, start, len(note))]
    if len(note) - sum([end - first for first, end in spans]) < ENOUGH and _are_apart(spans):
        return True  # whatever is in them
    return filled(note) - sum([filled(note[first:end]) for first, end in spans]) < ENOUGH


def _small_values(directory: _Directory, start: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the small values of a directory begin and end that are in its note of ``size`` bytes."""
    bases = [base - start for base in _bases(directory, start)]
    for _, kind, number, value in directory.entries:
        length = number * SIZES[kind]
        if 4 < length < ENOUGH:
            for base in bases:
                if 0 <= base + value <= size - length:
                    yield base + value, base + value + length
                    break


def _are_apart(spans: list[tuple[int, int]]) -> bool:
    """Whether none of them overlaps another one."""
    ordered = sorted(spans)
    return all(end <= first for (_, end), (first, _) in itertools.pairwise(ordered))


def _directory(data: bytearray, at: int, order: str, end: int) -> _Directory | None:
    """The directory at ``at``, if there is one that ends before ``end``."""
    if at < 0 or at + 14 > end:
        return None
    count, kind = struct.unpack_from(order + "H2xH", data, at)
    if not 1 <= count <= _MOST_ENTRIES or at + 2 + 12 * count > end or kind not in SIZES:
        return None
    entries = list(struct.iter_unpack(order + "HHII", data[at + 2 : at + 2 + 12 * count]))
    return _Directory(at, order, entries) if SIZES.keys() >= {kind for _, kind, _, _ in entries} else None


def _bases(directory: _Directory, start: int) -> tuple[int, ...]:
    """What places may count from: the beginning of the block, of the note, of the directory, of a header before it."""
    return 0, start, directory.at, directory.at - _HEADER


def _base(data: bytearray, directory: _Directory, start: int, end: int) -> int:
    """What places count from: a TIFF header before the directory; else most values are in the note, behind it."""
    if data.startswith(_TIFF, max(0, directory.at - _HEADER)):
        return directory.at - _HEADER
    sized = [(value, number * SIZES[kind]) for _, kind, number, value in directory.entries]
    values = [(value - directory.end, end - size - value) for value, size in sized if size > 4]
    best, most = 0, -1
    for base in _bases(directory, start):
        inside = sum([behind >= -base and room >= base for behind, room in values])
        if inside > most:
            best, most = base, inside
        if inside == len(values):
            break
    return best


def _previews(data: bytearray, directory: _Directory, base: int, *, below: bool = False) -> Iterator[tuple[int, int]]:
    """Place and length of each preview that a directory, or one below it, names."""
    entries = {entry[0]: _Entry(*entry) for entry in directory.entries if entry[0] in _NAMING}
    for starts, lengths in _PAIRS:
        if starts in entries and lengths in entries:
            numbers = (_numbers(data, entries[tag], directory.order, base) for tag in (starts, lengths))
            yield from zip(*numbers, strict=False)
    for tag in _VALUES:
        if tag in entries and entries[tag].kind in (_BYTE, _UNDEFINED):
            yield entries[tag].value, entries[tag].size
    if _CANON in entries:
        canon = _numbers(data, entries[_CANON], directory.order, base)
        if len(canon) > _CANON_PLACE:
            yield canon[_CANON_PLACE], canon[_CANON_LENGTH]
    for tag in () if below else _BELOW:
        entry = entries.get(tag)
        if entry is not None and entry.kind in (_LONG, _IFD, _UNDEFINED):
            inner = _directory(data, base + entry.value, directory.order, len(data))
            if inner is not None:
                yield from _previews(data, inner, base, below=True)


def _numbers(data: bytearray, entry: _Entry, order: str, base: int) -> list[int]:
    """The values of an entry, if they are whole numbers that may be places or lengths."""
    if entry.kind not in (_SHORT, _LONG, _IFD):
        return []
    count, kind = min(entry.number, _MOST_STRIPS), "H" if entry.kind == _SHORT else "I"
    if entry.size <= 4:
        return list(struct.unpack_from(f"{order}{count}{kind}", struct.pack(order + "I", entry.value)))
    first = base + entry.value
    if first < 0 or first + count * SIZES[entry.kind] > len(data):
        return []
    return list(struct.unpack_from(f"{order}{count}{kind}", data, first))
