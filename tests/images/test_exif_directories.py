"""EXIF blocks whose places and previews stand in directories that few programs write."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import pytest

from dadfi_fast.images import exif

Tags = dict[int, tuple[int, int, Any]]
LATITUDE: Final = struct.pack(">6I", 12, 1, 34, 1, 56, 1)
RAW: Final = bytes(range(1, 256)) * 20
GPS: Final[Tags] = {1: (2, 2, b"N\0"), 2: (5, 3, LATITUDE)}


def block(directories: dict[str, Tags], links: dict[str, str] | None = None, **data: bytes) -> bytes:
    """A block of named directories, the first of which is IFD0; a value that is a name stands for a place."""
    places: dict[str, int] = {}
    out = bytearray()
    for _ in range(2):  # the places of the first round are right in the second
        out = bytearray(b"MM\0*" + struct.pack(">I", 8))
        for name, tags in directories.items():
            places[name] = len(out)
            heap, table = b"", b""
            first = len(out) + 2 + 12 * len(tags) + 4
            for tag, (kind, count, value) in sorted(tags.items()):
                value = struct.pack(">I", places.get(value, 0)) if isinstance(value, str) else value
                if len(value) > 4:
                    value, heap = struct.pack(">I", first + len(heap)), heap + value + b"\0" * (len(value) % 2)
                table += struct.pack(">HHI", tag, kind, count) + value.ljust(4, b"\0")
            after = places.get((links or {}).get(name, ""), 0)
            out += struct.pack(">H", len(tags)) + table + struct.pack(">I", after) + heap
        for name, value in data.items():
            places[name] = len(out)
            out += value + b"\0" * (len(value) % 2)
    return bytes(out)


def long(value: int | str) -> tuple[int, int, Any]:
    """A field of one number, or of a place."""
    return (4, 1, struct.pack(">I", value) if isinstance(value, int) else value)


MAKE: Final[Tags] = {0x010F: (2, 8, b"CameraX\0")}
PLACES: Final = {
    "EXIF": block({"0": MAKE | {0x8769: long("e")}, "e": {0x8825: long("g")}, "g": GPS}),
    "IFD1": block({"0": MAKE, "1": {0x8825: long("g")}, "g": GPS}, {"0": "1"}),
    "IFD2": block({"0": MAKE, "1": {}, "2": {0x8825: long("g")}, "g": GPS}, {"0": "1", "1": "2"}),
    "SubIFD": block({"0": MAKE | {0x014A: long("s")}, "s": {0x8825: long("g")}, "g": GPS}),
    "interoperability": block(
        {"0": MAKE | {0x8769: long("e")}, "e": {0xA005: long("i")}, "i": {0x8825: long("g")}, "g": GPS}
    ),
    "behind the directory of GPS": block({"0": MAKE | {0x8825: long("g")}, "g": {}, "h": GPS}, {"g": "h"}),
}
STRIPS: Final[Tags] = {0x0111: long("d"), 0x0117: long(len(RAW))}
PREVIEWS: Final = {
    "strips of EXIF's directory": block({"0": MAKE | {0x8769: long("e")}, "e": STRIPS}, d=RAW),
    "behind EXIF's directory": block({"0": MAKE | {0x8769: long("e")}, "e": {}, "x": STRIPS}, {"e": "x"}, d=RAW),
    "interoperability": block({"0": MAKE | {0x8769: long("e")}, "e": {0xA005: long("i")}, "i": STRIPS}, d=RAW),
    "a TIFF in the maker's notes": block(
        {
            "0": MAKE | {0x8769: long("e")},
            "e": {0x927C: (7, 7000, b"NOTE" + block({"0": STRIPS}, d=RAW).ljust(6996, b"\0"))},
        }
    ),
}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    "strip", [exif.without_gps, lambda b: exif.cleaned(b, strip_gps=True)], ids=["copied", "written"]
)
def test_a_place_goes_wherever_it_stands(where: str, strip: Callable[[bytes], bytes | None]) -> None:
    result = strip(PLACES[where])
    assert exif.has_gps(PLACES[where]) and result is not None and not exif.has_gps(result)
    assert LATITUDE in PLACES[where] and LATITUDE not in result and b"CameraX" in result


@pytest.mark.parametrize("tag", [0x02BC, 0x83BB, 0x8649])
def test_copies_of_xmp_and_iptc_may_name_a_place(tag: int) -> None:
    original = block({"0": MAKE | {tag: (7, 12, b"GPSLatitude!")}})
    assert exif.has_gps(original) and b"GPSLatitude" not in exif.without_gps(original)


@pytest.mark.parametrize("where", PREVIEWS)
def test_a_preview_goes_wherever_it_stands(where: str) -> None:
    result = exif.cleaned(PREVIEWS[where])
    assert (
        result is not None and RAW[300:400] in PREVIEWS[where] and RAW[300:400] not in result and b"CameraX" in result
    )
    assert exif.unread(result) == ()


@pytest.mark.parametrize(("kind", "value"), [(1, b"\6"), (3, b"\0\6"), (4, b"\0\0\0\6")])
def test_orientation_of_any_size(kind: int, value: bytes) -> None:
    original = block({"0": MAKE | {0x0112: (kind, 1, value)}})
    result = exif.cleaned(original)
    assert exif.orientation(original) == 6 and result is not None and exif.stated_orientation(result) == 1


def notes(value: bytes) -> bytes:
    """A block with maker notes."""
    return block({"0": MAKE | {0x8769: long("e")}, "e": {0x927C: (7, len(value), value)}})


def readable(size: int) -> bytes:
    """Maker notes that are a directory of 40 values, each of ``size`` bytes."""
    table = b"".join(struct.pack(">HHII", n + 1, 7, size, 2 + 12 * 40 + 4 + n * size) for n in range(40))
    return struct.pack(">H", 40) + table + bytes(4) + b"".join(bytes((n + 1,)) * size for n in range(40))


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (notes(b"MAKER\0" + RAW), ("maker notes",)),
        (notes(readable(200)), ()),
        (notes(readable(200) + RAW), ("maker notes",)),
        (notes(RAW[:3000]), ()),
        (notes(bytes(9000)), ()),
        (block({"0": MAKE | {0xC700: (7, len(RAW), RAW)}}), ("EXIF",)),
        (block({"0": MAKE | {0x010E: (2, 9000, b"a caption " * 900)}}), ()),
    ],
    ids=["unknown", "a directory", "a directory and more", "too small", "zeros", "an unknown tag", "a long text"],
)
def test_what_nobody_can_read_is_named(original: bytes, expected: tuple[str, ...]) -> None:
    assert exif.unread(exif.cleaned(original)) == expected
