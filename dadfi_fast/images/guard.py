"""What a file says of itself, looked at before a parser acts on it: lengths and counts cost what they claim.

All checks are linear in the size of what they look at.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from dadfi_fast.errors import PhotoError

_PNG: Final = b"\x89PNG\r\n\x1a\n"
#: Bytes that a chunk may claim beyond the end of its file: a decoder asks for memory before it reads.
_BEYOND: Final = 1 << 20
#: Entries of a directory of EXIF; cameras write below 200.
_ENTRIES: Final = 4096
_POINTERS: Final = (0x8769, 0x8825)  # the directories of EXIF and of GPS
_SIZES: Final = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
#: Directories that are looked at.
_DIRECTORIES: Final = 16
#: Tag, kind, number of values, and the value or where it stands.
_Entry: TypeAlias = tuple[int, int, int, int]


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
    (first,) = struct.unpack_from(order + "I", block, 4)
    waiting, read = [first, *_link(block, order, first)], dict[int, list[_Entry]]()
    for value in _pointers(block, order, first, read):
        waiting += (value, *_pointers(block, order, value, read))
        if len(waiting) > _DIRECTORIES:
            break
    entries: list[_Entry] = []
    for directory in dict.fromkeys(waiting[:_DIRECTORIES]):
        if directory >= 8:  # 0 stands for none
            entries += read[directory] if directory in read else _entries(block, order, directory)
    room = 4 * len(block) + (1 << 16)
    size = sum([count for _, _, count, _ in entries]) * max(_SIZES.values())
    if size > room:  # not all of them have values of that size
        size = sum([count * _SIZES.get(kind, 1) for _, kind, count, _ in entries])
    return len(entries) <= _ENTRIES and size <= room


def _link(block: bytes, order: str, directory: int) -> tuple[int, ...]:
    """Where the next directory stands, if this one does not break off."""
    if directory + 2 > len(block):
        return ()
    (count,) = struct.unpack_from(order + "H", block, directory)
    end = directory + 2 + 12 * count
    return struct.unpack_from(order + "I", block, end) if end + 4 <= len(block) else ()


def _pointers(block: bytes, order: str, directory: int, read: dict[int, list[_Entry]]) -> list[int]:
    """Where the directories stand that this one points to; its entries are kept in ``read``."""
    if directory not in read:
        read[directory] = _entries(block, order, directory)
    return [value for tag, _, _, value in read[directory] if tag in _POINTERS]


def _entries(block: bytes, order: str, directory: int) -> list[_Entry]:
    if directory + 2 > len(block):
        return []
    (count,) = struct.unpack_from(order + "H", block, directory)
    body = block[directory + 2 : directory + 2 + 12 * count]
    return list(struct.iter_unpack(order + "HHII", body[: len(body) // 12 * 12]))
