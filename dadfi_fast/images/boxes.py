"""Boxes of ISO media files (AVIF, HEIC, JPEG 2000): what they say of colours and depth, and metadata in them.

Source: ISO/IEC 14496-12 (boxes), 23008-12 (items and their properties); ITU-T H.273 (code points of colours).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: Boxes that are looked at in a file; there are a few dozen.
_MOST: Final = 4096
_META_HEAD: Final = 4  # version and flags
_HEAD: Final = 128  # bytes, in which all brands are


@dataclass(frozen=True)
class Signals:
    """What the main picture says of itself."""

    nclx: tuple[int, int] | None = None  # colour primaries and transfer characteristics (H.273)
    has_icc: bool = False
    bits: int = 8  # most of any channel


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Name, and where the content begins and ends, of the boxes between two places; what makes no sense ends it."""
    end = len(data) if end is None else end
    for _ in range(_MOST):
        if start + 8 > end:
            return
        size, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        size = size or end - start
        if size < head or start + size > end:
            return
        yield name, start + head, start + size
        start += size


#: Boxes that hold a picture and what belongs to it: at the top, and in ``meta``.
_OF_PICTURE: Final = frozenset((b"ftyp", b"meta", b"mdat", b"free", b"skip", b"moov"))
_OF_META: Final = frozenset((b"hdlr", b"pitm", b"iloc", b"iinf", b"iprp", b"iref", b"idat", b"grpl", b"dinf", b"free"))
#: Brands of sequences, whose frames ``moov`` lists.
_SEQUENCES: Final = frozenset((b"avis", b"msf1", b"hevc", b"hevx"))


def without_strangers(data: bytes) -> bytes:
    """An AVIF or HEIC with zeros over everything that is not its picture or said of it: films, boxes of makers.

    Nothing moves: such a box becomes one that is free.
    """
    edited = bytearray(data)
    known = _OF_PICTURE if brands(data[:_HEAD]) & _SEQUENCES else _OF_PICTURE - {b"moov"}
    last = 0
    for name, start, end in boxes(data):
        _free(edited, name, start, end, known)
        if name == b"meta":
            for inner, at, stop in boxes(data, start + _META_HEAD, end):
                _free(edited, inner, at, stop, _OF_META)
        last = end
    edited[last:] = bytes(len(edited) - last)
    return bytes(edited)


def _free(content: bytearray, name: bytes, start: int, end: int, known: frozenset[bytes]) -> None:
    if name not in known or name in (b"free", b"skip"):
        head = start - 16 if content[start - 12 : start - 8] == name else start - 8
        content[head + 4 : head + 8] = b"free"
        content[start:end] = bytes(end - start)


def metadata_items(data: bytes) -> int:
    """How many items of EXIF, or else of XMP, an AVIF or HEIC has, whichever are more."""
    for name, start, end in boxes(data):
        if name == b"meta":
            inner = {name: (a, b) for name, a, b in boxes(data, start + _META_HEAD, end)}
            a, b = inner.get(b"iinf", (0, 0))
            kinds = [_item_kind(data[at:stop]) for at, stop in _items(data, a, b)]
            return max((kinds.count(b"Exif"), kinds.count(b"mime")))
    return 0


def _items(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    if end - start < 8:
        return
    first = start + (6 if data[start] == 0 else 8)  # version, flags, and a count of 16 or 32 bits
    yield from ((at, stop) for name, at, stop in boxes(data, first, end) if name == b"infe")


def _item_kind(entry: bytes) -> bytes:
    """``Exif``, ``mime``, ``av01`` and so on, of an entry of version 2 or 3."""
    at = 8 if entry[:1] == b"\2" else 10
    return entry[at : at + 4]


def brands(head: bytes) -> frozenset[bytes]:
    """The brands of a file, the major one and those it is compatible with, as far as ``head`` reaches."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(len(head), int.from_bytes(head[:4], "big"))
    return frozenset((head[8:12], *(head[n : n + 4] for n in range(16, end - 3, 4))))


def read_signals(data: bytes) -> Signals:
    """What an AVIF or HEIC says of its main picture; the defaults where it does not, or where that makes no sense."""
    try:
        return _signals(data)
    except (struct.error, IndexError, StopIteration):
        return Signals()


def _signals(data: bytes) -> Signals:
    start, end = next((a + _META_HEAD, b) for name, a, b in boxes(data) if name == b"meta")
    top = {name: (a, b) for name, a, b in boxes(data, start, end)}
    a, _ = top.get(b"pitm", (0, 0))
    main = struct.unpack_from(">H" if data[a] == 0 else ">I", data, a + 4)[0] if a else 1
    inner = {name: (a, b) for name, a, b in boxes(data, *top[b"iprp"])} if b"iprp" in top else {}
    if b"ipco" not in inner or b"ipma" not in inner:
        return Signals()
    properties = list(boxes(data, *inner[b"ipco"]))
    nclx, icc, bits = None, False, 8
    for number in _of_item(data, inner[b"ipma"][0], main):
        if not 1 <= number <= len(properties):
            continue
        name, at, stop = properties[number - 1]
        if name == b"colr" and data[at : at + 4] == b"nclx":
            nclx = struct.unpack_from(">HH", data, at + 4)
        elif name == b"colr":
            icc = True
        elif name == b"pixi":
            bits = max((8, *data[at + 5 : stop]))
        elif name == b"av1C" and data[at + 2] & 0x40:
            bits = max(bits, 12 if data[at + 2] & 0x20 else 10)
    return Signals(nclx, icc, bits)


def _of_item(data: bytes, at: int, item: int) -> list[int]:
    """The numbers, from 1 on, of the properties of an item."""
    version, wide = data[at], data[at + 3] & 1
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(min(count, _MOST)):
        (name,) = struct.unpack_from(">H" if version < 1 else ">I", data, at)
        at += 2 if version < 1 else 4
        many, at = data[at], at + 1
        if wide:
            numbers = [n & 0x7FFF for n in struct.unpack_from(f">{many}H", data, at)]
        else:
            numbers = [n & 0x7F for n in data[at : at + many]]
        at += many * (2 if wide else 1)
        if name == item:
            return numbers
    return []


#: The boxes in which JPEG 2000 files carry metadata (ISO/IEC 15444-1, annex I; exiftool's table of JPEG 2000 tags).
_XMP: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF: Final = b"JpgTiffExif->JP2"
_IPTC: Final = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")


def jpeg2000_metadata(data: bytes) -> dict[str, bytes]:
    """EXIF, XMP and IPTC in the uuid boxes of a JP2 file, by these names in lower case."""
    names = {_XMP: "xmp", _EXIF: "exif", _IPTC: "iptc"}
    if data[4:8] != b"jP  ":
        return {}
    blocks: dict[str, bytes] = {}
    for name, start, end in boxes(data):
        kind = names.get(data[start : start + 16]) if name == b"uuid" else None
        if kind is not None:
            blocks.setdefault(kind, data[start + 16 : end])
    return blocks


def jpeg2000_bits(data: bytes) -> int:
    """Bits of the deepest component, by the codestream's segment of sizes (15444-1, A.5.1); 8 where it is not found."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 42 > len(data):
        return 8
    (count,) = struct.unpack_from(">H", data, at + 40)
    return max((8, *((n & 0x7F) + 1 for n in data[at + 42 : at + 42 + 3 * count : 3])))


def jpeg2000_icc(data: bytes) -> bytes | None:
    """The ICC profile in the header of a JP2 file (15444-1, I.5.3.3); None where it has none."""
    for name, start, end in boxes(data):
        if name == b"jp2h":
            for inner, at, stop in boxes(data, start, end):
                if inner == b"colr" and data[at : at + 1] in (b"\2", b"\3"):
                    return data[at + 3 : stop]
    return None
