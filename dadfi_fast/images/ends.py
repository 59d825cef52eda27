"""Where the picture in a large file ends, found without reading what stands behind it into memory.

Of the formats in which a decoder stops at a known place: JPEG, PNG and WebP. Of others the whole file is the picture.
"""

from __future__ import annotations

from typing import IO, Final

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.jpeg import segments
from dadfi_fast.images.trailer import end_of_scans

#: Bytes that a JPEG's end is looked for in at first; twice as many each time that it is not there.
_FIRST: Final = 1 << 20
#: More chunks than this has no PNG; each is a step of the search.
_CHUNKS: Final = 1 << 16


def picture_end(file: IO[bytes], form: str, size: int) -> int:
    """Where the picture ends; ``size`` where that cannot be told.

    Args:
        file: can be moved about in; where it is left is not said.
        form: Pillow's name of its format.
        size: bytes of the file.
    """
    find = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}.get(form)
    return size if find is None else min(find(file, size), size)


def _jpeg(file: IO[bytes], size: int) -> int:
    file.seek(0)
    data, at, more = b"", 0, min(_FIRST, size)
    while len(data) < size:
        block = file.read(more)
        if not block:
            break
        data, more = data + block, len(data) + len(block)
        try:
            at = at or list(segments(data))[-1].end
        except PhotoError:
            return size
        end, at = end_of_scans(data, at)
        if end:
            return end
    return size


def _png(file: IO[bytes], size: int) -> int:
    at = 8
    for _ in range(_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        at += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return at
    return size


def _webp(file: IO[bytes], _size: int) -> int:
    file.seek(4)
    length = int.from_bytes(file.read(4), "little")
    return 8 + length + length % 2
