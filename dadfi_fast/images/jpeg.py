"""JPEG files as marker segments: read what stands before the pixels, and put metadata into an encoded stream.

Source: ITU-T T.81, annex B. Reading the header here, and not through a codec, tells the dimensions before anything is
decoded, and lets metadata travel as the bytes that they were.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import exif, xmp
from dadfi_fast.types import Metadata

EXIF: Final = b"Exif\0\0"
XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
ICC: Final = b"ICC_PROFILE\0"
ADOBE: Final = b"Adobe"
JFIF: Final = b"JFIF\0"
SOI, SOS, EOI, DQT, APP0, APP1, APP2, APP14 = 0xD8, 0xDA, 0xD9, 0xDB, 0xE0, 0xE1, 0xE2, 0xEE
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOFn: all but DHT, JPG, DAC
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # no length follows
#: A segment's length has 16 bits and counts itself.
_ROOM: Final = 65533
#: Bytes that an XMP packet can have in a JPEG.
XMP_ROOM: Final = _ROOM - len(XMP)
#: The places of a table in zigzag order: along the diagonals, upwards and downwards in turn.
_ZIGZAG: Final = sorted(range(64), key=lambda n: (d := n // 8 + n % 8, n // 8 if d % 2 else n % 8))
#: Values in zigzag order -> row by row.
_ROWS: Final = operator.itemgetter(*sorted(range(64), key=_ZIGZAG.__getitem__))


@dataclass(frozen=True)
class Segment:
    """A marker with its payload; ``start`` to ``end`` is where it stands in the file, marker included."""

    marker: int
    payload: bytes
    start: int
    end: int


@dataclass(frozen=True)
class JpegHeader:
    """What stands before the pixels."""

    width: int
    height: int
    precision: int  # bits a sample
    sampling: tuple[tuple[int, int], ...]  # horizontal and vertical factor of each component
    tables: tuple[tuple[int, ...], ...]  # quantisation, one a component that has its own, row by row
    progressive: bool
    metadata: Metadata

    @property
    def subsampling(self) -> str | None:
        """``4:4:4`` and so on; None for greyscale and for what has no such name."""
        if len(self.sampling) != 3 or self.sampling[1] != self.sampling[2] or self.sampling[1] != (1, 1):
            return None
        names = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1"}
        return names.get(self.sampling[0])


def segments(data: bytes) -> Iterator[Segment]:
    """The segments up to the first scan, which is the last one that is given.

    Raises:
        PhotoError: the file ends before the scan, or holds something else.
    """
    at = 2
    while True:
        if at + 4 > len(data):
            raise PhotoError("the file is truncated in its header")
        if data[at] != 0xFF:
            raise PhotoError("the header is damaged")
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _BARE:
            at += 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == EOI or end > len(data) or end < at + 4:
            raise PhotoError("the file is truncated in its header")
        yield Segment(marker, data[at + 4 : end], at, end)
        if marker == SOS:
            return
        at = end


def read_header(data: bytes) -> JpegHeader:
    """The header of a JPEG file.

    Raises:
        PhotoError: it is damaged or cut off.
    """
    try:
        return _header(data)
    except (struct.error, IndexError) as error:  # a segment that is shorter than what it has to hold
        raise PhotoError("the header is damaged") from error


def _header(data: bytes) -> JpegHeader:
    tables: dict[int, tuple[int, ...]] = {}
    profile: dict[int, bytes] = {}
    found: dict[str, bytes] = {}
    frame: Segment | None = None
    for segment in segments(data):
        marker, payload = segment.marker, segment.payload
        if marker in _FRAMES:
            frame = segment
        elif marker == DQT:
            tables.update(_tables(payload))
        elif marker == APP2 and payload.startswith(ICC):
            profile[payload[len(ICC)]] = payload[len(ICC) + 2 :]
        else:
            _note(segment, found)
    if frame is None or len(frame.payload) < 6 + 3 * frame.payload[5]:
        raise PhotoError("the header does not state the image size")
    metadata = Metadata(
        exif=found.get("exif"),
        icc=b"".join(profile[number] for number in sorted(profile)) or None,
        xmp=found.get("xmp"),
        dpi=_dpi(found.get("jfif")),
    )
    return _framed(frame, tables, metadata)


def _framed(frame: Segment, tables: dict[int, tuple[int, ...]], metadata: Metadata) -> JpegHeader:
    precision, height, width, count = struct.unpack_from(">BHHB", frame.payload)
    components = [frame.payload[6 + 3 * n : 9 + 3 * n] for n in range(count)]
    if not (width and height and count) or any(c[2] not in tables for c in components):
        raise PhotoError("the header is damaged")
    used = dict.fromkeys(c[2] for c in components)
    sampling = tuple((c[1] >> 4, c[1] & 15) for c in components)
    progressive = frame.marker in _PROGRESSIVE
    return JpegHeader(width, height, precision, sampling, tuple(tables[n] for n in used), progressive, metadata)


def _note(segment: Segment, found: dict[str, bytes]) -> None:
    """Remember the first segment of each kind of metadata."""
    for name, marker, prefix in (("exif", APP1, EXIF), ("xmp", APP1, XMP), ("jfif", APP0, JFIF)):
        if segment.marker == marker and segment.payload.startswith(prefix):
            found.setdefault(name, segment.payload[len(prefix) :])


def _tables(payload: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    at = 0
    while at < len(payload):
        kind, number = payload[at] >> 4, payload[at] & 15
        yield number, _ROWS(struct.unpack_from(">64H" if kind else ">64B", payload, at + 1))
        at += 129 if kind else 65


def _dpi(jfif: bytes | None) -> tuple[float, float] | None:
    if jfif is None or len(jfif) < 7:
        return None
    unit, x, y = struct.unpack_from(">xxBHH", jfif)
    inches = {1: 1.0, 2: 2.54}.get(unit)  # unit 0 is a mere aspect ratio
    return (x * inches, y * inches) if inches and x and y else None


def with_metadata(encoded: bytes, metadata: Metadata) -> bytes:
    """An encoder's stream, which begins with SOI and APP0, with metadata put in behind these.

    Raises:
        PhotoError: EXIF or XMP do not fit into a segment.
    """
    density = metadata.dpi and struct.pack(">BHH", 1, *(min(65535, max(1, round(n))) for n in metadata.dpi))
    at = 4 + int.from_bytes(encoded[4:6], "big") if encoded[2:4] == b"\xff\xe0" else 2
    lead = encoded[:at]
    if density and at >= 18:  # JFIF: version at 11, density from 13
        lead = encoded[:13] + density + encoded[18:at]
    return b"".join((lead, *_packed(metadata), memoryview(encoded)[at:]))


def _packed(metadata: Metadata) -> Iterator[bytes]:
    if metadata.exif:
        yield _segment(APP1, EXIF, metadata.exif)
    if metadata.xmp:
        yield _segment(APP1, XMP, metadata.xmp)
    if metadata.icc:
        room = _ROOM - len(ICC) - 2
        parts = [metadata.icc[i : i + room] for i in range(0, len(metadata.icc), room)]
        for number, part in enumerate(parts, start=1):
            yield _segment(APP2, ICC + bytes((number, len(parts))), part)


def _segment(marker: int, prefix: bytes, payload: bytes) -> bytes:
    if len(prefix) + len(payload) > _ROOM:
        raise PhotoError(f"{len(payload)} bytes of metadata do not fit into a JPEG segment. Pass --format png.")
    return struct.pack(">BBH", 0xFF, marker, len(prefix) + len(payload) + 2) + prefix + payload


def without_gps(data: bytes) -> bytes:
    """A JPEG file with all GPS taken out of its EXIF and XMP; every other byte, and so the picture, as it was."""
    parts, kept = [], 0
    for segment in segments(data):
        if segment.marker != APP1:
            continue
        if segment.payload.startswith(EXIF):
            changed = _segment(APP1, EXIF, exif.without_gps(segment.payload[len(EXIF) :]))
        elif segment.payload.startswith(XMP):
            changed = _segment(APP1, XMP, xmp.without_gps(segment.payload[len(XMP) :]))
        else:
            continue
        parts += [data[kept : segment.start], changed]
        kept = segment.end
    return b"".join((*parts, data[kept:]))
