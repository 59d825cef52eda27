"""Photoshop's image resources, and the IPTC records in one of them: pictures and places taken out.

Source: Adobe Photoshop File Formats Specification, "Image Resource Section"; IPTC Information Interchange Model 4.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from dadfi_fast.images import previews

#: How the segment of a JPEG begins that holds resources.
PREFIX: Final = b"Photoshop 3.0\0"
_SIGNATURES: Final = (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR")
_IPTC: Final = 0x0404
_DIGEST: Final = 0x0425  # of the IPTC records: wrong once they change
#: Thumbnails; EXIF and XMP, which have places of their own and would escape what is done there.
_DROPPED: Final = (0x0409, 0x040C, 0x0422, 0x0423, 0x0424)
#: Bytes that the smallest picture of any format takes, and few values do.
_LEAST: Final = 24
#: An ICC profile; paths.
_KNOWN: Final = (0x040F, *range(2000, 3000))
#: Record 2: content location, city, sublocation, province, country; and the picture in record 2 (object preview).
_PLACES: Final = frozenset((2, n) for n in (26, 27, 90, 92, 95, 100, 101))
_PREVIEW: Final = frozenset((2, n) for n in (200, 201, 202))


def _resources(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, the bytes before the length, and the data of each resource; what makes no sense ends it."""
    at = 0
    while data[at : at + 4] in _SIGNATURES and at + 12 <= len(data):
        named = at + 6
        sized = named + (data[named] + 2) // 2 * 2
        if sized + 4 > len(data):
            return
        (size,) = struct.unpack_from(">I", data, sized)
        if sized + 4 + size > len(data):
            return
        yield int.from_bytes(data[at + 4 : at + 6], "big"), data[at:sized], data[sized + 4 : sized + 4 + size]
        at = sized + 4 + size + size % 2


def _joined(parts: Iterator[tuple[bytes, bytes]]) -> bytes:
    return b"".join(head + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2) for head, data in parts)


def _records(iptc: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Record and data set of each entry, with its bytes."""
    at = 0
    while at + 5 <= len(iptc) and iptc[at] == 0x1C:
        size, start = int.from_bytes(iptc[at + 3 : at + 5], "big"), at + 5
        if size & 0x8000:  # the length of a length follows
            count = size & 0x7FFF
            size, start = int.from_bytes(iptc[start : start + count], "big"), start + count
        if start + size > len(iptc):
            return
        yield (iptc[at + 1], iptc[at + 2]), iptc[at : start + size]
        at = start + size


def iptc_of(photoshop: bytes | None) -> bytes | None:
    """The IPTC records in Photoshop's resources."""
    return next((data for number, _, data in _resources(photoshop or b"") if number == _IPTC and data), None)


def resources_of(iptc: bytes | None) -> bytes | None:
    """Photoshop's resources that hold these IPTC records and nothing else."""
    return _joined(iter([(b"8BIM" + struct.pack(">H", _IPTC) + b"\0\0", iptc)])) if iptc else None


def has_place(photoshop: bytes | None) -> bool:
    """Whether the IPTC records name a place, or may do so: they cannot be read, or there is a copy of EXIF or XMP."""
    rest = photoshop or b""
    for number, head, data in _resources(rest):
        if number in _DROPPED[2:] or (number == _IPTC and _is_placed(data)):
            return True
        rest = rest[len(head) + 4 + len(data) + len(data) % 2 :]
    return any(rest)


def _is_placed(iptc: bytes) -> bool:
    records = list(_records(iptc))
    return any(name in _PLACES for name, _ in records) or any(iptc[sum(len(entry) for _, entry in records) :])


def unread(photoshop: bytes | None) -> bool:
    """Whether a resource or a record is large enough for a picture, and is nothing that is known."""
    if len(photoshop or b"") < previews.ENOUGH:
        return False
    for number, _, data in _resources(photoshop or b""):
        values = [entry for _, entry in _records(data)] if number == _IPTC else [] if number in _KNOWN else [data]
        if any(previews.is_opaque(value) for value in values):
            return True
    return False


def _is_picture(entry: bytes) -> bool:
    return len(entry) >= _LEAST and (previews.is_picture_as_text(entry) or any(previews.pictures(entry)))


def cleaned(photoshop: bytes | None, *, strip_gps: bool = False) -> bytes | None:
    """The resources without pictures, and without places if asked for; None where nothing is left."""
    gone = _PREVIEW | (_PLACES if strip_gps else frozenset())
    resources = []
    changed = False
    for number, head, data in _resources(photoshop or b""):
        if number in _DROPPED or (number != _IPTC and _is_picture(data)):
            continue
        if number == _IPTC:
            left = b"".join(entry for name, entry in _records(data) if name not in gone and not _is_picture(entry))
            changed, data = changed or left != data, left
            if not data:
                continue
        resources.append((number, head, data))
    return _joined((head, data) for number, head, data in resources if not (changed and number == _DIGEST)) or None


def without_place(photoshop: bytes) -> bytes:
    """The resources without the place and without copies of EXIF and XMP; all else as it was (for copied photos)."""
    parts = []
    for number, head, data in _resources(photoshop):
        if number == _IPTC:
            data = b"".join(entry for name, entry in _records(data) if name not in _PLACES)
        if number not in (*_DROPPED[2:], _DIGEST):
            parts.append((head, data))
    return _joined(iter(parts))
