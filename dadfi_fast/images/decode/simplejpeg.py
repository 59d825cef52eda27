"""JPEG through libjpeg-turbo (the wheel ``simplejpeg``): straight into an array, without Pillow's copy, off the GIL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import numpy as np
import simplejpeg

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.decode.base import Decoder, Raster
from dadfi_fast.images.jpeg import ADOBE, APP0, APP14, COM, EOI, JFIF, SOS, JpegHeader, Segment, segments
from dadfi_fast.images.previews import MARKER_IN_SCANS
from dadfi_fast.types import Encoding, UInt8

_STRAY: Final = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
#: Stray bytes that are taken for padding, whatever they are.
_PADDING: Final = 64
#: A JFIF segment of version 1.01 that says nothing more.
_PLAIN_JFIF: Final = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"
#: An encoder leaves out zeros at the end of a scan (ITU-T T.81, D.1.8), more than three once in 65,000 scans; what is
#: no zero behind these is decoded to something else than zeros are.
_MORE: Final = bytes(3) + b"\x55\xaa" * 2048
#: Spectral selection and approximation of a sequential scan.
_WHOLE_BLOCK: Final = b"\0\x3f\0"


class JpegDecoder(Decoder):
    """A greyscale or colour JPEG."""

    def __init__(self, data: bytes, header: JpegHeader) -> None:
        if header.precision != 8:
            raise PhotoError(
                f"a JPEG with {header.precision} bits per sample is not supported. Convert it to 8 bits or PNG."
            )
        self._data, self.header = data, header
        self._grey = len(header.sampling) == 1
        self.width, self.height, self.metadata = header.width, header.height, header.metadata
        self.encoding = Encoding(
            "JPEG",
            "L" if self._grey else "RGB",
            quantization=header.tables,
            subsampling=header.subsampling,
            progressive=header.progressive,
        )

    def decode(self) -> Raster:
        """The pixels. What the codec finds wrong in the metadata or in padding is no fault; lost pixels are."""
        pixels = intact(self._data, "GRAY" if self._grey else "RGB", self.header)
        return Raster(np.repeat(pixels, 3, axis=2) if self._grey else pixels)


def intact(data: bytes, colours: str, header: JpegHeader) -> UInt8:
    """The pixels of a JPEG file, [H, W, channels], where the codec has no complaint, or one that is about no pixel.

    It tells its first complaint alone, so it is asked again once all is mended that is not about pixels.

    Args:
        data: the file.
        colours: GRAY, RGB or CMYK, which comes as stored.
        header: what the file says of itself.

    Raises:
        PhotoError: pixels, or their detail, are lost.
    """
    if header.arithmetic:
        require_end(data, header)
    try:
        pixels = _decoded(data, colours)
    except ValueError as error:
        try:
            data = mended(data, progressive=header.progressive)
        except PhotoError:
            raise _damaged(error) from error
        pixels = _without_complaint(data, colours)
    _require_detail(data, header)
    if header.arithmetic:
        require_scans(pixels, _decoded(with_more_behind_scans(data), colours, strict=False))
    return pixels


def require_scans(pixels: UInt8, with_more: UInt8) -> None:
    """Refuse an arithmetic-coded file of which a scan was cut: bytes behind its scans change its pixels.

    The decoder takes zeros for what is missing, and does not complain.

    Args:
        pixels: of the file.
        with_more: of `with_more_behind_scans`.

    Raises:
        PhotoError: they differ.
    """
    if not np.array_equal(pixels, with_more):
        raise _damaged("a scan was cut off")


def with_more_behind_scans(data: bytes) -> bytes:
    """The file with bytes behind each scan that a decoder does not come to where the scan is whole."""
    parts, copied = [], 0
    for end in _scan_ends(data, list(segments(data))[-1].end):
        parts += [data[copied:end], _MORE]
        copied = end
    return b"".join((*parts, data[copied:]))


def _scan_ends(data: bytes, at: int) -> Iterator[int]:
    """Where each scan's data end, the first of which begin at ``at``."""
    within = True
    while match := MARKER_IN_SCANS.search(data, at):
        if within:
            yield match.start()
        marker = data[match.start() + 1]
        if marker == EOI:
            return
        within = marker == SOS
        at = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")


def require_end(data: bytes, header: JpegHeader) -> None:
    """Refuse a file that was cut off, where the decoder would not notice: by its end, and by what its scans hold.

    Raises:
        PhotoError: it has no end, or too few scans.
    """
    if not _end(data, list(segments(data))[-1].end):
        raise _damaged("it was cut off")
    _require_detail(data, header)


def _require_detail(data: bytes, header: JpegHeader) -> None:
    if header.progressive and not _is_complete(data, list(segments(data))[-1]):
        raise _damaged("it was cut off between two scans, and detail is lost")


def _decoded(data: bytes, colours: str, *, strict: bool = True) -> UInt8:
    pixels: UInt8 = simplejpeg.decode_jpeg(data, colours, fastdct=False, strict=strict)
    return pixels


def _damaged(reason: object) -> PhotoError:
    return PhotoError(f"the JPEG is damaged: {reason}")


def _without_complaint(data: bytes, colours: str) -> UInt8:
    """The pixels of a mended file, without what stands between the last of them and the end."""
    try:
        return _decoded(data, colours)
    except ValueError as error:
        stray = _STRAY.search(str(error))
        if stray is None:
            raise _damaged(error) from error
        count, marker = int(stray[1]), int(stray[2], 16)
        if marker == EOI:
            with suppress(ValueError):
                return _decoded(_without_padding(data, count), colours)
        elif count <= _PADDING and not 0xD0 <= marker <= 0xD7:  # between scans; a restart is where pixels are
            with suppress(ValueError):
                return _decoded(data, colours, strict=False)
        raise _damaged(error) from error


def _without_padding(data: bytes, count: int) -> bytes:
    """The file without the ``count`` bytes before its end that the codec says belong to no pixel.

    Many must all be the same, and then all of their kind go: where zeros stand for what was lost, the codec takes some
    of them for pixels.
    """
    body, end = data[:-2], data[-2:]
    bare = body.rstrip(body[-1:])
    if len(body) - len(bare) >= count:
        return bare + end
    return body[:-count] + end if count <= _PADDING else data


def mended(data: bytes, *, progressive: bool) -> bytes:
    """A JPEG file with what the pixels need and nothing else: no metadata, no stray bytes, an end.

    Raises:
        PhotoError: it ends before its last scan does.
    """
    header = list(segments(data))
    scan = header[-1]
    end = _end(data, scan.end)
    body = data[scan.end : end] if end else data[scan.end :].rstrip(b"\xff") + b"\xff\xd9"
    if progressive and not end and not _is_complete(data, scan):
        raise PhotoError("the file ends before its last scan")
    parts = [data[:2], *(_PLAIN_JFIF for s in header if s.marker == APP0 and s.payload.startswith(JFIF))]
    parts += [_kept(data, s, progressive) for s in header if not APP0 <= s.marker < APP14 and s.marker != COM]
    return b"".join((*parts, body))


def _kept(data: bytes, segment: Segment, progressive: bool) -> bytes:
    raw, payload = data[segment.start : segment.end], segment.payload
    if segment.marker == SOS and not progressive:  # Samsung's panoramas say 0, 0, 0
        return raw[:-3] + _WHOLE_BLOCK
    if segment.marker == APP14:
        if not payload.startswith(ADOBE) or len(payload) < 12:
            return b""
        return raw if payload[11] < 3 else b""
    return b"" if segment.marker == APP14 + 1 else raw


def _scans(data: bytes, first: Segment) -> Iterator[bytes]:
    """The header of each scan."""
    yield first.payload
    at = first.end
    while match := MARKER_IN_SCANS.search(data, at):
        if data[match.start() + 1] == EOI:
            return
        end = match.start() + 2 + int.from_bytes(data[match.end() : match.end() + 2], "big")
        if data[match.start() + 1] == SOS:
            yield data[match.start() + 4 : end]
        at = max(end, match.end())


def _is_complete(data: bytes, first: Segment) -> bool:
    """Whether the scans of a progressive picture bring every coefficient to its last bit."""
    left: dict[int, set[int]] = {}
    for scan in _scans(data, first):
        count = scan[0] if scan else 0
        if len(scan) < 4 + 2 * count:
            return False
        low, high, bits = scan[1 + 2 * count], scan[2 + 2 * count], scan[3 + 2 * count] & 15
        for component in scan[1 : 1 + 2 * count : 2]:
            waiting = left.setdefault(component, set(range(64)))
            if bits == 0:
                waiting.difference_update(range(low, high + 1))
    return not any(left.values())


def _end(data: bytes, at: int) -> int:
    """Where the picture ends, EOI included; 0 where it never does."""
    while match := MARKER_IN_SCANS.search(data, at):
        if data[match.start() + 1] == EOI:
            return match.end()
        at = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    return 0
