"""Previews without compression, which only the directory of a maker note tells from anything else."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import pytest

from dadfi_fast.images import exif

#: 64 x 64 pixels and more, which are no file of any format.
RAW: Final = bytes(range(1, 255)) * 20
#: What stands before and behind a preview and has to stay.
SETTINGS: Final = bytes(range(40, 120))
#: Where the note is expected to begin: a value's place depends on it.
START: Final = 8 + 2 + 12 * 2 + 4 + 8 + 2 + 12 * 1 + 4


class Note(NamedTuple):
    """Of one maker."""

    name: bytes  # what stands before the directory
    order: str
    base: int  # what places count from: -1 the beginning of the block, else so far from the beginning of the note
    entries: dict[int, tuple[int, int, bytes | str]]  # tag -> kind, number of values, value or what it points to
    below: dict[int, tuple[int, int, bytes | str]] = {}  # noqa: RUF012


def packed(note: Note) -> bytes:
    """The note: its directory, settings, the directory below, the preview, and settings once more."""
    at = len(note.name)
    zero = START if note.base < 0 else -note.base
    lists = {"list": struct.pack(note.order + "6I", 24, 0, len(RAW), 64, 80, 0)}
    table = at + 2 + 12 * (len(note.entries) + 1) + 4
    places = {"settings": table}
    places["list"] = table + len(SETTINGS)
    places["below"] = places["list"] + 24
    places["preview"] = places["below"] + 2 + 12 * len(note.below) + 4
    counted = {name: place + zero for name, place in places.items()}
    lists["list"] = struct.pack(note.order + "6I", 24, 0, len(RAW), 64, 80, counted["preview"])
    entries = note.entries | {0x00F0: (7, len(SETTINGS), "settings")}
    head, below = (_directory(each, note.order, counted) for each in (entries, note.below))
    return note.name + head + SETTINGS + lists["list"] + below + RAW + SETTINGS


def _directory(entries: dict[int, tuple[int, int, bytes | str]], order: str, places: dict[str, int]) -> bytes:
    table = b""
    for tag, (kind, number, value) in sorted(entries.items()):
        field = struct.pack(order + "I", places[value]) if isinstance(value, str) else value
        table += struct.pack(order + "HHI", tag, kind, number) + field.ljust(4, b"\0")
    return struct.pack(order + "H", len(entries)) + table + bytes(4)


def block(note: bytes, order: str = "<") -> bytes:
    """EXIF with a maker, and with a maker note at `START`."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    inner = 8 + 2 + 24 + 4 + 8
    ifd0 = struct.pack(order + "H", 2) + struct.pack(order + "HHII", 0x010F, 2, 8, 8 + 2 + 24 + 4)
    ifd0 += struct.pack(order + "HHII", 0x8769, 4, 1, inner) + bytes(4) + b"CameraX\0"
    data = head + ifd0 + struct.pack(order + "HHHII", 1, 0x927C, 7, len(note), START) + bytes(4)
    assert len(data) == START
    return data + note


def long(order: str, value: int | str) -> tuple[int, int, bytes | str]:
    """An entry of one number, or of a place."""
    return 4, 1, value if isinstance(value, str) else struct.pack(order + "I", value)


def pair(order: str, place: int, length: int) -> dict[int, tuple[int, int, bytes | str]]:
    """Place and length of the preview."""
    return {place: long(order, "preview"), length: long(order, len(RAW))}


TIFF: Final = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}
NOTES: Final = {
    "Canon": Note(b"", "<", -1, {0x00B6: (4, 6, "list")}),
    "Casio, place and length": Note(b"QVC\0\0\0", ">", -1, pair(">", 0x0004, 0x0003)),
    "Casio, value": Note(b"QVC\0\0\0", ">", -1, {0x2000: (7, len(RAW), "preview")}),
    "Minolta, place and length": Note(b"", ">", -1, pair(">", 0x0088, 0x0089)),
    "Minolta, value": Note(b"", ">", -1, {0x0081: (7, len(RAW), "preview")}),
    "Nikon": Note(
        b"Nikon\0\2\x10\0\0" + TIFF[">"], ">", 10, {0x0011: long(">", "below")}, pair(">", 0x0201, 0x0202)
    ),
    "Nikon, strips": Note(
        b"Nikon\0\2\x10\0\0" + TIFF["<"], "<", 10, {0x0011: long("<", "below")}, pair("<", 0x0111, 0x0117)
    ),
    "Olympus": Note(b"OLYMP\0\1\0", "<", -1, pair("<", 0x1036, 0x1037)),
    "Olympus, newer": Note(
        b"OLYMPUS\0II\3\0", "<", 0, {0x2020: (13, 1, "below")}, pair("<", 0x0101, 0x0102)
    ),
    "Olympus, value": Note(b"OLYMP\0\1\0", "<", -1, {0x0100: (7, len(RAW), "preview")}),
    "Pentax": Note(b"AOC\0MM", ">", -1, pair(">", 0x0004, 0x0003)),
    "Samsung": Note(b"", "<", 0, {0x0035: long("<", "below")}, pair("<", 0x0201, 0x0202)),
    "Sony": Note(b"SONY DSC \0\0\0", "<", -1, {0x2001: (7, len(RAW), "preview")}),
    "of its own base": Note(b"MAKER\0", "<", 6, {0x2001: (7, len(RAW), "preview")}),
}  # fmt: skip


@pytest.mark.parametrize("maker", NOTES)
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_a_preview_goes_and_nothing_else(maker: str, order: str) -> None:
    original = block(packed(NOTES[maker]), order)
    at = original.index(RAW)
    assert exif.cleaned(original) == original[:at] + bytes(len(RAW)) + original[at + len(RAW) :]
    assert exif.unread(exif.cleaned(original)) == ()


def test_what_no_tag_names_stays_and_is_said() -> None:
    original = block(packed(Note(b"", "<", -1, {0x7777: (7, len(RAW), "preview")})))
    assert exif.cleaned(original) == original and exif.unread(original) == ("maker notes",)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({0x0088: long("<", 4), 0x0089: long("<", len(RAW))}, "it begins in the header of the block"),
        ({0x0088: long("<", START), 0x0089: long("<", len(RAW))}, "it begins in the directory"),
        ({0x0088: long("<", 0xFFFFFFFF), 0x0089: long("<", len(RAW))}, "it begins behind the block"),
        ({0x0088: long("<", "preview"), 0x0089: long("<", 1 << 20)}, "it ends behind the block"),
        ({0x0088: long("<", "preview"), 0x0089: long("<", 60)}, "too small for a face"),
        ({0x0088: long("<", "preview"), 0x0089: (2, 4, b"5000")}, "its length is a text"),
        ({0x0088: long("<", "preview")}, "its length is missing"),
        ({0x00B6: (4, 3, "list")}, "a list that is too short"),
        ({0x0011: long("<", 0xFFFFFF00)}, "a directory behind the block"),
        ({0x0011: long("<", START)}, "a directory that is the note itself"),
    ],
)
def test_what_a_note_says_is_not_believed(entries: dict[int, tuple[int, int, bytes | str]], why: str) -> None:
    original = block(packed(Note(b"", "<", -1, entries)))
    assert exif.cleaned(original) == original, why


def test_a_note_that_is_no_directory_stays() -> None:
    for note in (b"words " * 20, b"\1\0", b"", b"\xff" * 40):
        assert exif.cleaned(block(note)) == block(note)


@pytest.mark.parametrize(
    ("first", "step", "unread"),
    [
        (0, 500, False),  # ten values beside one another are all that there is
        (5000, 500, True),  # they are the zeros behind it
        (5000, 0, True),  # the same zeros ten times, which would be enough by their number
        (0, 250, False),  # they overlap, and what is left is too small for a face
    ],
)
def test_small_values_explain_the_bytes_in_them_and_no_others(first: int, step: int, unread: bool) -> None:
    """Bytes of a note that would be enough for a picture, with as many zeros behind them."""
    place = START + 2 + 12 * 10 + 4 + first
    entries = b"".join(struct.pack("<HHII", 0x7000 + n, 7, 500, place + step * n) for n in range(10))
    note = struct.pack("<H", 10) + entries + bytes(4) + RAW[:5000] + bytes(5000 if step else 500)
    assert (exif.unread(block(note)) == ("maker notes",)) == unread
    assert (exif.clean(block(note)).unread == ("maker notes",)) == unread
