"""Pictures inside metadata: maker notes, thumbnails, base64 in XMP. They show the face as it was, so they go.

A JPEG is found by its structure (SOI, then whole segments up to a scan), not by its first bytes alone, and from its
second byte on: Minolta's cameras change the first one. Other formats are found by their headers.
Source: ITU-T T.81, annex B; PNG specification, third edition, 5.2; GIF89a; ISO/IEC 14496-12 (boxes); RFC 9649 (WebP).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

#: The second byte of SOI with the marker that follows it: a table, a frame, an APPn or a comment.
_JPEG: Final = re.compile(rb"\xd8\xff(?=[\xc0-\xc4\xdb\xdd\xe0-\xef\xfe])")
#: Bytes in the headers of other formats, where these stand from its beginning, and the kind of its structure; each is
#: looked for by itself, which is many times faster than one expression for all.
_OTHERS: Final = (
    (b"\x89PNG\r\n\x1a\n", 0, "png"), (b"WEBPVP8", 8, "riff"), (b"GIF8", 0, "gif"),
    (b"ftyp", 4, "boxes"), (b"\r\n\x87\n", 8, "boxes"), (b"\xff\x4f\xff\x51", 0, "codestream"),
)  # fmt: skip
_BMP: Final = re.compile(rb"BM....\0\0\0\0....[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)
_BRANDS: Final = (b"hei", b"hev", b"avi", b"mif1", b"msf1", b"jp2 ", b"jpx ", b"jpm ", b"jxl ", b"jpeg", b"crx ")
_LARGE: Final = (b"mdat", b"meta", b"jp2c", b"jxlc", b"jxlp")
_BOXES: Final = 4096  # more has no preview
#: A marker of JPEG within the scans that is neither a stuffed byte, nor a restart, nor a fill byte.
MARKER_IN_SCANS: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_TABLES: Final = frozenset({0xDB, 0xC4, *range(0xC0, 0xC4)})
_SEGMENTS: Final = 64  # more stand before no preview's scan
_SOS, _EOI = 0xDA, 0xD9
#: A picture as text: how base64 of JPEG, PNG, WebP, GIF, TIFF and HEIF begins, and a JPEG in hexadecimal, with so much
#: behind it that a face could be seen. White space may stand between, also as a reference.
_BASE64: Final = (b"/9j/", b"iVBORw0K", b"UklGR", b"R0lGOD", b"SUkqA", b"TU0AK", b"AAAA")
_HEXADECIMAL: Final = b"ffd8ff"
_AS_BASE64: Final = re.compile(rb"(?:AAAA[A-Za-z0-9+/]{2}Z0eX|(?!AAAA))(?:[A-Za-z0-9+/=\s]|&#x?[0-9A-Fa-f]+;){150,}")
_AS_HEXADECIMAL: Final = re.compile(rb"ffd8ff[ed][0-9a-f](?:[0-9a-f\s]){300,}")
#: Much of anything as text, in one line or in many: of what format it is cannot be told from all that begins so. Nobody
#: writes words of 60 letters.
_LONG: Final = re.compile(rb"(?<![\w+/=-])(?:[\w+/=-]{1024,}|(?:[\w+/=-]{60,}\n){15,})", re.ASCII)
_SPACED: Final = re.compile(rb"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}[ \n]){400,}")
#: These expressions take 50 ns a byte. What each needs is seen in a thousandth of that once all bytes that count the
#: same are one letter. Compressed data have many kinds of letters.
_MUCH: Final = 1000
_KINDS: Final = 12
_RUN, _WORD, _PAIRS = b"a" * 150, b"a" * 60, b"hhs" * 400


def _table(**letters: bytes) -> bytes:
    letter_of = {n: letter for letter, bytes_ in letters.items() for n in bytes_}
    return bytes(ord(letter_of[n]) if n in letter_of else 0 for n in range(256))


_ALNUM: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TO_RUN: Final = _table(a=_ALNUM + b"+/= \t\r\n\v\f&#;")
_TO_WORD: Final = _table(a=_ALNUM + b"+/=-_")
#: All of the above and below as one letter: where no run of it is as long as a word, no picture stands as text.
_TO_ANY: Final = _table(a=_ALNUM + b"+/=-_ \t\r\n\v\f&#;")
_TO_PAIRS: Final = _table(h=b"0123456789ABCDEFabcdef", s=b" \n")
_TO_LOOSE_PAIRS: Final = _table(h=b"0123456789ABCDEFabcdef", s=b" \t\r\n\v\f<&")
_BREAK: Final = re.compile(rb"&#x?[0-9A-Fa-f]{1,6};|<[^<>]*>")
_SPACE: Final = re.compile(rb"\s+")
#: Bytes that make a picture of a face: 64 x 64 in grey.
ENOUGH: Final = 4096
_PRINTABLE: Final = 0.95
#: Fewer bytes than this are counted faster without NumPy.
_FEW: Final = 512


def is_picture_as_text(text: bytes) -> bool:
    """Whether a picture stands in ``text``, or may do so: much of anything in base64 or in hexadecimal."""
    if next(_begun(text), None) is not None:
        return True
    if len(text) < _MUCH:
        return False
    lines = _SPACE.sub(lambda match: b" " if match[0] == b" " else b"\n", _BREAK.sub(b"\n", text))
    return next(_endless(lines), None) is not None


def may_hold_picture_as_text(text: bytes) -> bool:
    """False where `is_picture_as_text` is false for every part of ``text``; a fast look, also at a whole packet."""
    if _WORD in text.translate(_TO_ANY) and (next(_begun(text), None) is not None or _WORD in text.translate(_TO_WORD)):
        return True
    # White space between pairs may be longer, or a tag.
    return text.translate(_TO_LOOSE_PAIRS).count(b"hhs") >= len(_PAIRS) // 3


def _begun(text: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Where text begins and ends that starts as a picture does."""
    folded = text.translate(_TO_RUN)
    start = folded.find(_RUN)
    while start >= 0:
        end = folded.find(b"\0", start)
        end = len(text) if end < 0 else end
        yield from ((start + first, start + last) for first, last in _begun_in_run(text[start:end]))
        start = folded.find(_RUN, end)


def _begun_in_run(text: bytes | bytearray) -> Iterator[tuple[int, int]]:
    for token, within, expression in (
        *((token, text, _AS_BASE64) for token in _BASE64),
        (_HEXADECIMAL, text.lower(), _AS_HEXADECIMAL),
    ):
        at = within.find(token)
        while at >= 0:
            match = expression.match(within, at)
            if match is not None:
                yield match.span()
            at = within.find(token, at + 1 if match is None else match.end())


def _endless(lines: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Where much of anything stands."""
    if _WORD in lines.translate(_TO_WORD):
        yield from (match.span() for match in _LONG.finditer(lines) if len(set(match[0])) >= _KINDS)
    if _PAIRS in lines.translate(_TO_PAIRS):
        yield from (match.span() for match in _SPACED.finditer(lines))


def filled(value: bytes) -> int:
    """How many bytes are not zero; of many bytes twenty times as fast as ``count``."""
    if len(value) < _FEW:
        return len(value) - value.count(0)
    return int(np.count_nonzero(np.frombuffer(value, np.uint8)))


def is_opaque(value: bytes) -> bool:
    """Whether a value is large enough for a picture, and is no text."""
    if len(value) < ENOUGH or filled(value) < ENOUGH:
        return False
    for coding in ("utf-8", "utf-16-le", "utf-16-be"):
        try:
            text = value.decode(coding)
        except UnicodeDecodeError:
            continue
        if sum(c.isprintable() or c in "\0\r\n\t" for c in text) >= _PRINTABLE * len(text):
            return False
    return True


def pictures(block: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Where each JPEG and PNG in ``block`` begins and ends; one without its end reaches to the end of the block."""
    at = 0
    while match := _JPEG.search(block, at):
        end = _jpeg_end(block, match.start() + 1) if match.start() else 0
        if end:
            yield match.start() - 1, end
        at = end or match.start() + 1
    for start, kind in _others(block):
        end = min(len(block), _ENDS[kind](block, start))
        if end > start:
            yield start, end


def _others(block: bytes | bytearray) -> Iterator[tuple[int, str]]:
    """Where pictures of other formats may begin, and their kind."""
    for token, offset, kind in _OTHERS:
        at = block.find(token)
        while at >= 0:
            if at >= offset and _begins(block, at - offset, kind):
                yield at - offset, kind
            at = block.find(token, at + 1)
    for match in _BMP.finditer(block):
        yield match.start(), "bmp"


def _begins(block: bytes | bytearray, at: int, kind: str) -> bool:
    """Whether the rest of a header is there, too."""
    if kind == "riff":
        return block.startswith(b"RIFF", at)
    if kind == "gif":
        return block.startswith((b"GIF87a", b"GIF89a"), at)
    if kind == "boxes":
        ours = block.startswith(_BRANDS, at + 8) if block.startswith(b"ftyp", at + 4) else False
        return ours or block.startswith((b"jP  \r\n\x87\n", b"JXL \r\n\x87\n"), at + 4)
    return True


def blank(block: bytearray) -> int:
    """Zeros over every picture in ``block``, as bytes or as text; nothing moves. The number of pictures."""
    spans = [*pictures(block)]
    if _WORD in block.translate(_TO_ANY):
        spans += [*_begun(block), *_endless(block)]
    for start, end in spans:
        block[start:end] = bytes(end - start)
    return len(spans)


def _jpeg_end(block: bytes | bytearray, at: int) -> int:
    """Where the JPEG ends whose first marker stands at ``at``; 0 where there is none."""
    tables = False
    for _ in range(_SEGMENTS):
        if at + 4 > len(block) or block[at] != 0xFF:
            return len(block) if tables and at + 4 > len(block) else 0
        marker, end = block[at + 1], at + 2 + int.from_bytes(block[at + 2 : at + 4], "big")
        if end < at + 4:
            return 0
        if marker == _SOS:
            return _scans_end(block, end) if tables else 0
        tables = tables or marker in _TABLES
        at = end
    return 0


def _scans_end(block: bytes | bytearray, at: int) -> int:
    while match := MARKER_IN_SCANS.search(block, at):
        if block[match.start() + 1] == _EOI:
            return match.end()
        at = match.end() + int.from_bytes(block[match.end() : match.end() + 2], "big")
    return len(block)


def _png_end(block: bytes | bytearray, at: int) -> int:
    end = block.find(b"IEND", at)
    return len(block) if end < 0 else end + 8


def _riff_end(block: bytes | bytearray, at: int) -> int:
    return at + 8 + int.from_bytes(block[at + 4 : at + 8], "little")


def _bmp_end(block: bytes | bytearray, at: int) -> int:
    return at + int.from_bytes(block[at + 2 : at + 6], "little")


def _gif_end(block: bytes | bytearray, at: int) -> int:
    end = block.find(b"\0;", at)
    return len(block) if end < 0 else end + 2


def _boxes_end(block: bytes | bytearray, at: int) -> int:
    for _ in range(_BOXES):
        size, name = int.from_bytes(block[at : at + 4], "big"), bytes(block[at + 4 : at + 8])
        if 8 <= size <= len(block) - at:
            at += size
        else:  # cut off, to the end, or with a long length; or no box any more
            return len(block) if name in _LARGE else at
    return at


def _codestream_end(block: bytes | bytearray, at: int) -> int:
    end = block.find(b"\xff\xd9", at)  # no packet can hold these two
    return len(block) if end < 0 else end + 2


_ENDS: Final[dict[str, Callable[[bytes | bytearray, int], int]]] = {
    "png": _png_end, "riff": _riff_end, "bmp": _bmp_end, "gif": _gif_end, "boxes": _boxes_end,
    "codestream": _codestream_end,
}  # fmt: skip
