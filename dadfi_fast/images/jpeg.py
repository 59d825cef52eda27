"""JPEG files as marker segments: read what stands before the pixels, and put metadata into an encoded stream.

Source: ITU-T T.81, annex B. Reading the header here, and not through a codec, tells the dimensions before anything is
decoded, and lets metadata travel as the bytes that they were.
"""

from __future__ import annotations

import operator
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import exif, iptc, xmp
from dadfi_fast.images.icc import is_profile
from dadfi_fast.images.previews import MARKER_IN_SCANS
from dadfi_fast.types import Metadata

EXIF: Final = b"Exif\0\0"
XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"
ICC: Final = b"ICC_PROFILE\0"
ADOBE: Final = b"Adobe"
JFIF: Final = b"JFIF\0"
SOI, SOS, EOI, DQT, DHT, COM = 0xD8, 0xDA, 0xD9, 0xDB, 0xC4, 0xFE
APP0, APP1, APP2, APP13, APP14 = 0xE0, 0xE1, 0xE2, 0xED, 0xEE
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOFn: all but DHT, JPG, DAC
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ARITHMETIC: Final = frozenset({0xC9, 0xCA, 0xCB, *range(0xCD, 0xD0)})
_LOSSLESS: Final = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # no length follows
#: The first byte of a marker that may follow bytes that belong to nothing.
_MARKER: Final = re.compile(rb"\xff(?=[^\x00\xff])")
#: How segments begin that name no place, or are looked into by others.
_KNOWN: Final[dict[int, tuple[bytes, ...]]] = {
    APP0: (JFIF, b"JFXX\0"), APP2: (ICC,), APP13: (iptc.PREFIX,), APP14: (ADOBE,),
}  # fmt: skip
#: So many such bytes may stand between two segments.
_JUNK: Final = 1 << 16
#: A GUID, the length of the whole packet, and the place of this part in it.
_EXTENDED_HEAD: Final = len(EXTENDED_XMP) + 40
#: A segment's length has 16 bits and counts itself.
_ROOM: Final = 65533
#: Bytes that EXIF can have in a JPEG, and that an XMP packet can.
EXIF_ROOM: Final = _ROOM - len(EXIF)
XMP_ROOM: Final = _ROOM - len(XMP)
#: The places of a table in zigzag order: along the diagonals, upwards and downwards in turn.
_ZIGZAG: Final = sorted(range(64), key=lambda n: (d := n // 8 + n % 8, n // 8 if d % 2 else n % 8))
#: Values in zigzag order -> row by row.
_ROWS: Final = operator.itemgetter(*sorted(range(64), key=_ZIGZAG.__getitem__))


#: Parts of a profile, which are numbered by a byte.
_PARTS: Final = 255


class Segment(NamedTuple):
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
    arithmetic: bool = False  # coding, of which the codec does not notice where it breaks off
    table_of: tuple[int, ...] = ()  # place in ``tables`` of each component's

    @property
    def subsampling(self) -> str | None:
        """``4:4:4`` and so on; None for greyscale and for what has no such name."""
        if len(self.sampling) != 3 or self.sampling[1] != self.sampling[2] or self.sampling[1] != (1, 1):
            return None
        names = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1"}
        return names.get(self.sampling[0])


def segments(data: bytes) -> Iterator[Segment]:
    """The segments up to the first scan, which is the last one that is given; bytes between them are passed over.

    Raises:
        PhotoError: the file ends before the scan, or holds something else.
    """
    return (Segment(marker, data[start + 4 : end], start, end) for marker, start, end in spans(data))


def spans(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, beginning and end of each of the `segments`, which are not copied."""
    at = 2
    while True:
        if at + 4 > len(data):
            raise PhotoError("the file is truncated in its header")
        if data[at] != 0xFF or data[at + 1] == 0:  # a stuffed byte is no marker
            match = _MARKER.search(data, at, at + _JUNK)
            if match is None:
                raise PhotoError("the header is damaged")
            at = match.start()
            continue
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
        yield marker, at, end
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
    said = _Said()
    frame: Segment | None = None
    for segment in segments(data):
        marker, payload = segment.marker, segment.payload
        if marker in _FRAMES:
            frame = segment
            if marker in _LOSSLESS:
                raise PhotoError("a lossless JPEG is not supported. Convert it to PNG.")
        elif marker == DQT:
            tables.update(_tables(payload))
        elif marker == COM or APP0 <= marker <= APP0 + 15:
            said.note(marker, payload)
    if frame is None or len(frame.payload) < 6 + 3 * frame.payload[5]:
        raise PhotoError("the header does not state the image size")
    return _framed(frame, tables, said.metadata())


class _Said:
    """What the segments say of the photo."""

    def __init__(self) -> None:
        self._first: dict[str, bytes] = {}
        self._profile: list[tuple[int, int, bytes]] = []  # number, count, data
        self._photoshop: list[bytes] = []
        self._comments: list[tuple[str, str]] = []
        self._notes: list[str] = []

    def note(self, marker: int, payload: bytes) -> None:
        """Remember the first segment of EXIF, of XMP and of JFIF, and all parts of what may have several."""
        for name, of, prefix in (("exif", APP1, EXIF[:5]), ("xmp", APP1, XMP), ("jfif", APP0, JFIF)):
            if marker == of and payload.startswith(prefix):
                if name != "jfif" and name in self._first:
                    self._say(f"left out a second {name.upper()} segment")
                self._first.setdefault(name, payload[len(EXIF if name == "exif" else prefix) :])
        if marker == APP2 and payload.startswith(ICC) and len(payload) >= len(ICC) + 2:
            self._profile.append((payload[len(ICC)], payload[len(ICC) + 1], payload[len(ICC) + 2 :]))
        elif marker == APP13 and payload.startswith(iptc.PREFIX):
            self._photoshop.append(payload[len(iptc.PREFIX) :])
        elif marker == APP1 and payload.startswith(EXTENDED_XMP):
            self._say("left out extended XMP")
        elif marker == COM and payload.strip(b"\0 \t\r\n"):
            self._comments.append(("Comment", _words(payload.rstrip(b"\0"))))

    def metadata(self) -> Metadata:
        """All of it."""
        return Metadata(
            self._first.get("exif"), self._icc(), self._first.get("xmp"), _dpi(self._first.get("jfif")),
            b"".join(self._photoshop) or None, tuple(self._comments), (), tuple(self._notes),
        )  # fmt: skip

    def _say(self, words: str) -> None:
        if words not in self._notes:
            self._notes.append(words)

    def _icc(self) -> bytes | None:
        """The parts of the profile in the order of their numbers, some of which phones and programs get wrong."""
        parts = [part for part in self._profile if part[2]][:_PARTS]
        numbers = [number for number, _, _ in parts]
        if numbers == list(range(1, len(parts) + 1)) and {count for _, count, _ in parts} <= {len(parts)}:
            return b"".join(data for _, _, data in parts) or None
        distinct = len(set(numbers)) == len(numbers)
        candidates = [sorted(parts, key=operator.itemgetter(0)) if distinct else parts, parts, parts[:1]]
        candidates.append([part for n, part in enumerate(parts) if part[0] not in numbers[:n]])
        for each in candidates:
            joined = b"".join(data for _, _, data in each)
            if is_profile(joined) and int.from_bytes(joined[:4], "big") == len(joined):
                return joined
        if self._profile:
            self._say("left out a damaged ICC profile")
        return None


def _words(comment: bytes) -> str:
    """Comments have no encoding; who writes UTF-8 means it."""
    try:
        return comment.decode("utf-8")
    except UnicodeDecodeError:
        return comment.decode("latin-1")


def _framed(frame: Segment, tables: dict[int, tuple[int, ...]], metadata: Metadata) -> JpegHeader:
    precision, height, width, count = struct.unpack_from(">BHHB", frame.payload)
    components = [frame.payload[6 + 3 * n : 9 + 3 * n] for n in range(count)]
    if not (width and height and count) or any(c[2] not in tables for c in components):
        raise PhotoError("the header is damaged")
    used = dict.fromkeys(c[2] for c in components)
    sampling = tuple((c[1] >> 4, c[1] & 15) for c in components)
    progressive = frame.marker in _PROGRESSIVE
    quantization, arithmetic = tuple(tables[n] for n in used), frame.marker in _ARITHMETIC
    table_of = tuple(list(used).index(c[2]) for c in components)
    return JpegHeader(width, height, precision, sampling, quantization, progressive, metadata, arithmetic, table_of)


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
    if metadata.photoshop:
        yield from _resources(metadata.photoshop)
    for key, words in metadata.texts:
        yield _segment(COM, b"", comment(key, words))


def _resources(photoshop: bytes) -> Iterator[bytes]:
    room = _ROOM - len(iptc.PREFIX)
    for at in range(0, len(photoshop), room):
        yield _segment(APP13, iptc.PREFIX, photoshop[at : at + room])


def comment(key: str, words: str) -> bytes:
    """A text as a comment, which has no keyword of its own."""
    return (words if key == "Comment" else f"{key}: {words}").encode()


def _segment(marker: int, prefix: bytes, payload: bytes) -> bytes:
    if len(prefix) + len(payload) > _ROOM:
        raise PhotoError(f"{len(payload)} bytes of metadata do not fit into a JPEG segment. Pass --format png.")
    return struct.pack(">BBH", 0xFF, marker, len(prefix) + len(payload) + 2) + prefix + payload


def without_gps(data: bytes) -> bytes:
    """A JPEG file with all places taken out of its metadata; every other byte, and so the picture, as it was.

    Segments of programs that are not known here go as a whole, as do those between and behind the scans.
    """
    header = list(segments(data))
    changes = {s.start: changed for s in header if (changed := _placeless(s)) is not None}
    if extended := _extended(header):
        changes |= extended | _unextended(header, changes)
    changes |= _photoshop(header)
    parts, copied = [], 0
    for segment in (*header, *_between_scans(data, header[-1].end)):
        if segment.start in changes or segment.start > header[-1].start:
            parts += [data[copied : segment.start], changes.get(segment.start, b"")]
            copied = segment.end
    return b"".join((*parts, data[copied:]))


def _between_scans(data: bytes, at: int) -> Iterator[Segment]:
    """The segments behind the first scan that are not about pixels."""
    while (match := MARKER_IN_SCANS.search(data, at)) and data[match.start() + 1] != EOI:
        start, at = match.start(), match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
        marker = data[start + 1]
        if marker == COM or APP0 <= marker <= APP0 + 15:
            yield Segment(marker, data[start + 4 : at], start, at)


def _placeless(segment: Segment) -> bytes | None:
    """What a segment becomes without its place; None where it has none."""
    payload, marker = segment.payload, segment.marker
    if not APP0 <= marker <= APP0 + 15 or payload.startswith(_KNOWN.get(marker, ())):
        return None
    if marker != APP1:
        return b""
    if payload.startswith(EXIF[:5]):
        block = payload[len(EXIF) :]
        if not exif.has_gps(block):
            return None
        left = exif.without_gps(block)
        return _segment(APP1, EXIF, left) if left else b""
    if payload.startswith(XMP):
        packet = payload[len(XMP) :]
        return _segment(APP1, XMP, xmp.without_gps(packet)) if xmp.has_gps(packet) else None
    return None if payload.startswith(EXTENDED_XMP) else b""


def _is_extended(segment: Segment) -> bool:
    return segment.marker == APP1 and segment.payload.startswith(EXTENDED_XMP)


def _extended(all_segments: list[Segment]) -> dict[int, bytes]:
    """Extended XMP that names a place goes as a whole: its checksum would not fit any more."""
    parts = [s for s in all_segments if _is_extended(s)]
    ordered = sorted(parts, key=lambda s: s.payload[_EXTENDED_HEAD - 4 : _EXTENDED_HEAD])
    if not parts or not xmp.has_gps(b"".join(s.payload[_EXTENDED_HEAD:] for s in ordered)):
        return {}
    return dict.fromkeys((s.start for s in parts), b"")


def _unextended(all_segments: list[Segment], changes: dict[int, bytes]) -> dict[int, bytes]:
    """The packets that point to extended XMP, without that."""
    packets = [s for s in all_segments if s.marker == APP1 and s.payload.startswith(XMP)]
    now = {s.start: changes.get(s.start, b"")[4:] or s.payload for s in packets}
    return {at: _segment(APP1, XMP, xmp.without_note(packet[len(XMP) :])) for at, packet in now.items()}


def _photoshop(all_segments: list[Segment]) -> dict[int, bytes]:
    """Photoshop's resources, which may go on from segment to segment, as the first of them."""
    parts = [s for s in all_segments if s.marker == APP13 and s.payload.startswith(iptc.PREFIX)]
    whole = b"".join(s.payload[len(iptc.PREFIX) :] for s in parts)
    if not iptc.has_place(whole):
        return {}
    left = b"".join(_resources(iptc.without_place(whole)))
    return {s.start: left if number == 0 else b"" for number, s in enumerate(parts)}
