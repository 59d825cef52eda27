"""What a file says of itself, looked at before a parser acts on it: lengths and counts cost what they claim.

All checks are linear in the size of what they look at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from dadfi_fast.errors import PhotoError

_PNG: Final = b"\x89PNG\r\n\x1a\n"
#: Bytes that a chunk may claim beyond the end of its file: a decoder asks for memory before it reads.
_BEYOND: Final = 1 << 20
#: Entries of a directory of EXIF; cameras write below 200.
_ENTRIES: Final = 4096
_POINTERS: Final = (0x8769, 0x8825)  # the directories of EXIF and of GPS
_SIZES: Final = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


def check_lengths(data: bytes) -> None:
    """See that no chunk of a PNG claims to be longer than the file.

    Raises:
        PhotoError: one does.
    """
    if not data.startswith(_PNG):
        return
    at = len(_PNG)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if length > len(data) - at + _BEYOND:
            raise PhotoError(
                f"the PNG is damaged: its chunk {name.decode('latin-1')!r} claims {length} bytes, but the file has"
                f" {len(data)}"
            )
        if name == b"IEND":
            return
        at += 12 + length


def is_sane_exif(block: bytes) -> bool:
    """Whether the directories have a number of entries, and of bytes in them, that fits the block.

    A block that breaks off is sane: whoever reads it finds out.
    """
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return True
    entries, size = 0, 0
    for directory in _directories(block, order):
        for _, kind, count, _ in _entries(block, order, directory):
            entries, size = entries + 1, size + count * _SIZES.get(kind, 1)
    return entries <= _ENTRIES and size <= 4 * len(block) + (1 << 16)


def _directories(block: bytes, order: str) -> Iterator[int]:
    (first,) = struct.unpack_from(order + "I", block, 4)
    waiting = [first]
    if first + 2 <= len(block):
        (count,) = struct.unpack_from(order + "H", block, first)
        if first + 6 + 12 * count <= len(block):
            waiting += struct.unpack_from(order + "I", block, first + 2 + 12 * count)
    for _, _, _, value in _pointers(block, order, first):
        waiting.append(value)
        waiting += (deeper for _, _, _, deeper in _pointers(block, order, value))
    yield from (at for at in dict.fromkeys(waiting[:16]) if at >= 8)  # 0 stands for none


def _pointers(block: bytes, order: str, directory: int) -> Iterator[tuple[int, int, int, int]]:
    return (entry for entry in _entries(block, order, directory) if entry[0] in _POINTERS)


def _entries(block: bytes, order: str, directory: int) -> Iterator[tuple[int, int, int, int]]:
    if directory + 2 > len(block):
        return iter(())
    (count,) = struct.unpack_from(order + "H", block, directory)
    body = memoryview(block)[directory + 2 : directory + 2 + 12 * count]
    return struct.iter_unpack(order + "HHII", body[: len(body) // 12 * 12])
