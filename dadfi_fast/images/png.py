"""PNG chunks: metadata wherever they stand in a file, and put into a stream that an encoder wrote without any.

Source: PNG specification, third edition; ImageMagick's "Raw profile type" texts, which exiftool and GIMP read, too.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import exif, iptc, xmp
from dadfi_fast.images.previews import is_picture_as_text
from dadfi_fast.types import Metadata

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER_END: Final = 8 + 25  # signature and IHDR
_INCH: Final = 0.0254
#: What the pixels are made of; all else is about them.
_PIXELS: Final = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
#: What says which colours the numbers mean, but for ICC profiles; in the order in which they are written.
COLOUR: Final = (b"cICP", b"mDCV", b"cLLI", b"sRGB", b"gAMA", b"cHRM")
_TEXTS: Final = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_XMP: Final = "XML:com.adobe.xmp"
_RAW: Final = re.compile(r"Raw profile type (\w+)", re.IGNORECASE)
#: Bytes that the compressed texts and profiles of a file may unfold to, together.
_ROOM: Final = 32 << 20
#: A text that is called after what holds a place.
_PLACE: Final = re.compile(r"iptc|8bim", re.IGNORECASE)
#: Chunks that name no place, with those that make an animation.
_PLACELESS: Final = frozenset(
    (*_PIXELS, *COLOUR, b"iCCP", b"sBIT", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"tIME", b"acTL", b"fcTL", b"fdAT")
)
#: Names that ImageMagick gives to what stands elsewhere in the file.
_COPIES: Final = re.compile(r"^(exif|date|png):", re.IGNORECASE)


@dataclass(frozen=True)
class Chunk:
    """A chunk with its payload; ``start`` to ``end`` is where it stands in the file, length and CRC included."""

    name: bytes
    payload: memoryview
    start: int
    end: int


@dataclass
class _Fields:
    """What a file says beside its pixels."""

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    photoshop: bytes | None = None
    dpi: tuple[float, float] | None = None
    colour: dict[bytes, bytes] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    room: int = _ROOM  # bytes that may still be unfolded

    def unfolded(self, data: bytes) -> bytes:
        """What was compressed.

        Raises:
            ValueError: it is longer than what is left of the room for all of them.
        """
        inflate = zlib.decompressobj()
        text = inflate.decompress(data, self.room) if self.room else b""
        self.room -= len(text)
        if inflate.unconsumed_tail or (data and not self.room):
            raise ValueError("too long")
        return text


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a file, up to IEND or to where it breaks off; CRCs are not checked."""
    view, at = memoryview(data), len(SIGNATURE)
    while at + 12 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if end > len(data):
            yield Chunk(name, view[at + 8 :], at, len(data))
            return
        yield Chunk(name, view[at + 8 : end - 4], at, end)
        if name == b"IEND":
            return
        at = end


def pixels_only(data: bytes) -> bytes:
    """The file without anything but its (first) picture: nothing in it can be wrong but pixels.

    A chunk that breaks off gets the length that it has: a decoder would make room for what it says.
    """
    view, parts = memoryview(data), [memoryview(SIGNATURE)]
    ended = False
    for each in chunks(data):
        if each.name in _PIXELS:
            whole = each.end - each.start == len(each.payload) + 12
            parts.append(view[each.start : each.end] if whole else memoryview(_chunk(each.name, bytes(each.payload))))
            ended = ended or each.name == b"IEND"
    return b"".join(parts if ended else (*parts, memoryview(_chunk(b"IEND", b""))))


def read_metadata(data: bytes) -> Metadata:
    """All that a file says beside its pixels, before and behind them; what is damaged is left out, and named."""
    fields = _Fields()
    for each in chunks(data):
        if each.name in _PIXELS:
            continue
        try:
            _note(each.name, bytes(each.payload), fields)
        except (ValueError, struct.error, zlib.error, IndexError):
            note = f"left out a damaged {each.name.decode('latin-1')} chunk"
            fields.notes += [note] if note not in fields.notes else []
    return Metadata(
        fields.exif, fields.icc, fields.xmp, fields.dpi, fields.photoshop,
        tuple(fields.texts), tuple(sorted(fields.colour.items())), tuple(fields.notes),
    )  # fmt: skip


def _note(name: bytes, payload: bytes, fields: _Fields) -> None:
    if name == b"eXIf":
        fields.exif = payload.removeprefix(exif.PREFIX)
    elif name == b"iCCP":
        fields.icc = fields.unfolded(payload[payload.index(b"\0") + 2 :])
    elif name == b"pHYs":
        x, y, unit = struct.unpack(">IIB", payload)
        fields.dpi = (x * _INCH, y * _INCH) if unit == 1 and x and y else None
    elif name in COLOUR:
        fields.colour.setdefault(name, payload)
    elif name in _TEXTS:
        _note_text(*_text(name, payload, fields), fields)


def _note_text(key: str, value: str, fields: _Fields) -> None:
    raw = _RAW.fullmatch(key)
    if key == _XMP:
        fields.xmp = value.encode()
    elif raw is None:
        fields.texts.append((key, value))
    else:
        _note_profile(raw[1].lower(), _raw_profile(value), fields)


def _note_profile(kind: str, data: bytes, fields: _Fields) -> None:
    """A profile in hexadecimal; a chunk of its own counts more than such a text."""
    if data.startswith((exif.PREFIX, b"II*\0", b"MM\0*")):
        fields.exif = fields.exif or data.removeprefix(exif.PREFIX)
    elif kind in ("xmp", "app1"):
        fields.xmp = fields.xmp or data.removeprefix(b"http://ns.adobe.com/xap/1.0/\0")
    elif kind in ("iptc", "8bim"):
        data = data.removeprefix(iptc.PREFIX)
        fields.photoshop = fields.photoshop or (data if data[:4] == b"8BIM" else iptc.resources_of(data))
    elif kind in ("icc", "icm"):
        fields.icc = fields.icc or data


def _text(name: bytes, payload: bytes, fields: _Fields) -> tuple[str, str]:
    """Keyword and text of one of the three chunks of text."""
    key, _, rest = payload.partition(b"\0")
    if name == b"tEXt":
        return key.decode("latin-1"), rest.decode("latin-1")
    if name == b"zTXt":
        return key.decode("latin-1"), fields.unfolded(rest[1:]).decode("latin-1")
    folded = rest[0] == 1
    value = rest[2:].split(b"\0", 2)[2]
    return key.decode("latin-1"), (fields.unfolded(value) if folded else value).decode("utf-8", "replace")


def _raw_profile(text: str) -> bytes:
    """The bytes of a text of the form: name, length, hexadecimal."""
    _, length, digits = text.strip().split("\n", 2)
    return bytes.fromhex("".join(digits.split()))[: int(length)]


def without_gps(data: bytes) -> bytes:
    """A PNG file with all places taken out of its metadata; every other chunk, and so the picture, as it was."""
    view, parts, copied = memoryview(data), [memoryview(SIGNATURE)], 0
    for each in chunks(data):
        changed = _placeless(each)
        if changed is not None:
            parts += [view[max(copied, len(SIGNATURE)) : each.start], memoryview(changed)]
            copied = each.end
        last = each.end
    return b"".join((*parts, view[max(copied, len(SIGNATURE)) : last]))


def _placeless(chunk: Chunk) -> bytes | None:
    """What a chunk becomes without its place; None where it has none."""
    payload = bytes(chunk.payload)
    if chunk.name == b"eXIf":
        return _block(exif.without_gps(payload)) if exif.has_gps(payload) else None
    if chunk.name not in _TEXTS:
        return None if chunk.name in _PLACELESS else b""
    fields = _Fields()
    try:
        key, value = _text(chunk.name, payload, fields)
        _note_text(key, value, fields)
    except (ValueError, struct.error, zlib.error, IndexError):
        return b""
    if exif.has_gps(fields.exif):
        return _block(exif.without_gps(fields.exif or b""))
    if xmp.has_gps(fields.xmp):
        return _packet(xmp.without_gps(fields.xmp or b""))
    if iptc.has_place(fields.photoshop):
        return b"".join(_profiles(iptc.without_place(fields.photoshop or b"")))
    if fields.texts:
        return b"" if _names_place(key) else None
    return None if fields.icc or fields.exif or fields.xmp or fields.photoshop else b""


def _block(block: bytes) -> bytes:
    return _chunk(b"eXIf", block) if block else b""


def _names_place(key: str) -> bool:
    return _PLACE.search(key) is not None or xmp.is_place(key)


def kept_texts(texts: Sequence[tuple[str, str]], *, strip_gps: bool) -> tuple[tuple[str, str], ...]:
    """Texts for the written file: without pictures, and without those that are called after a place if asked for."""
    return tuple(
        (key, value)
        for key, value in texts
        if not is_picture_as_text(value.encode()) and not (strip_gps and _names_place(key)) and not _COPIES.match(key)
    )


def with_metadata(encoded: bytes, metadata: Metadata) -> bytes:
    """An encoder's stream with what is said of it put in behind its first chunk."""
    return b"".join((encoded[:_HEADER_END], *_chunks(metadata), memoryview(encoded)[_HEADER_END:]))


def transparent_colour(data: bytes) -> tuple[int, ...] | None:
    """The one colour, on the scale of the stored samples, that tRNS makes transparent in a PNG without alpha."""
    key = next((each.payload for each in chunks(data) if each.name == b"tRNS"), None)
    if key is None or data[25] not in (0, 2):
        return None
    try:
        return struct.unpack(">H" if data[25] == 0 else ">3H", key)
    except struct.error:
        return None


def header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, bits a sample and colour type.

    Raises:
        PhotoError: the file does not begin as PNG files do.
    """
    if len(data) < _HEADER_END or data[12:16] != b"IHDR":
        raise PhotoError("the PNG is damaged: it does not begin with its header")
    width, height, bits, kind = struct.unpack_from(">IIBB", data, 16)
    if not (width and height) or bits not in (1, 2, 4, 8, 16) or kind not in (0, 2, 3, 4, 6):
        raise PhotoError("the PNG is damaged: its header is invalid")
    return width, height, bits, kind


def frames(data: bytes) -> int:
    """How many pictures there are: an animation (acTL) has several."""
    count = 1
    for each in chunks(data):
        if each.name == b"acTL" and len(each.payload) >= 4:
            said = int.from_bytes(each.payload[:4], "big")
            count = said if 1 <= said < 1 << 31 else 1  # else it is none
        if each.name == b"IDAT":
            break
    return count


def _chunks(metadata: Metadata) -> Iterator[bytes]:
    colour = dict(metadata.colour)
    if metadata.icc:
        colour = {name: payload for name, payload in colour.items() if name not in (b"sRGB", b"gAMA", b"cHRM")}
    yield from (_chunk(name, colour[name]) for name in COLOUR if name in colour)
    if metadata.icc:
        yield _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc))
    if metadata.dpi:
        x, y = (round(n / _INCH) for n in metadata.dpi)
        yield _chunk(b"pHYs", struct.pack(">IIB", x, y, 1))
    if metadata.exif:
        yield _chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        yield _packet(metadata.xmp)
    if metadata.photoshop:
        yield from _profiles(metadata.photoshop)
    for key, value in metadata.texts:
        yield _chunk(b"iTXt", key.encode("latin-1", "replace")[:79] + b"\0\0\0\0\0" + value.encode())


def _packet(packet: bytes) -> bytes:
    return _chunk(b"iTXt", _XMP.encode() + b"\0\0\0\0\0" + packet)


def _profiles(photoshop: bytes) -> Iterator[bytes]:
    """IPTC where ImageMagick and exiftool look for it in a PNG."""
    if photoshop and iptc.iptc_of(photoshop):
        digits = photoshop.hex()
        lines = "\n".join(digits[n : n + 72] for n in range(0, len(digits), 72))
        text = f"\niptc\n{len(photoshop):8}\n{lines}\n"
        yield _chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text.encode()))


def _chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
