"""``--strip-gps`` on copied photos whose place stands where few programs put one; and what is no place stays."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import tifffile
from PIL import Image

from dadfi_fast.images import heif, iptc, strip
from dadfi_fast.images.decode import open_picture
from dadfi_fast.images.jpeg import EXIF, EXTENDED_XMP, XMP

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]
PLACE: Final = struct.pack("<6I", 51, 1, 30, 1, 12, 1)
PACKET: Final = b'<x xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="51,30N" dc:title="t"/>'
RECORDS: Final = b"\x1c\x02\x5a\x00\x0aSampletown\x1c\x02\x19\x00\x05alpha"
HARMLESS: Final = b'<x dc:title="t"/>'


def segment(marker: int, payload: bytes) -> bytes:
    """A marker with its payload."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def chunk(name: bytes, payload: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file."""
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def box(name: bytes, payload: bytes) -> bytes:
    """Of an ISO media file."""
    return struct.pack(">I", 8 + len(payload)) + name + payload


@pytest.fixture
def files(encoded: Make, exif_block: Make) -> dict[str, bytes]:
    """Pictures that name a place."""
    heif.register()
    block, bare = exif_block(turn=None), exif_block(turn=None, gps=False)
    jpeg, progressive, png = encoded(), encoded(progressive=True), encoded("PNG")
    second = progressive.index(b"\xff\xda", progressive.index(b"\xff\xda") + 2)
    resources = iptc.resources_of(RECORDS) or b""
    vp8 = encoded("WEBP", size=(64, 64))[20:]
    flags = (b"VP8X", b"\x0c\0\0\0" + struct.pack("<I", 63)[:3] * 2)
    digits = block.hex().encode()
    profile = b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(block), digits)
    moved = box(b"mpvd", b"\0\0\0\x1a\xa9xyz+51.3000+000.0000/Sampletown")
    samples = {
        "exif-ff.jpg": jpeg[:20] + segment(0xE1, EXIF[:5] + b"\xff" + block) + jpeg[20:],
        "meta.jpg": jpeg[:20] + segment(0xE3, b"Meta\0\0" + block) + jpeg[20:],
        "c2pa.jpg": jpeg[:20] + segment(0xEB, b"JP\0\1 Sampletown") + jpeg[20:],
        "photoshop25.jpg": jpeg[:20] + segment(0xED, b"Adobe_Photoshop2.5:" + resources) + jpeg[20:],
        "scans.jpg": progressive[:second] + segment(0xE1, EXIF + block) + progressive[second:],
        "behind.jpg": jpeg + jpeg[:20] + segment(0xE1, EXIF + block) + jpeg[20:],
        "unreadable.jpg": jpeg[:20] + segment(0xE1, EXIF + block[:2] + b"\x2b\0" + block[4:]) + jpeg[20:],
        "private.png": png[:33] + chunk(b"geOx", b"Sampletown") + png[33:],
        "c2pa.png": png[:33] + chunk(b"caBX", b"Sampletown") + png[33:],
        "folded.png": png[:33]
        + chunk(b"zxIf", b"\0" + struct.pack(">I", len(block)) + zlib.compress(block))
        + png[33:],
        "profile.png": png[:33] + chunk(b"tEXt", profile) + png[33:],
        "text.png": png[:33] + chunk(b"tEXt", b"City\0Sampletown") + png[33:],
        "behind.png": png + b"Sampletown",
        "twice.webp": riff(
            flags, (b"VP8 ", vp8), (b"EXIF", bare), (b"EXIF", block), (b"XMP ", HARMLESS), (b"XMP ", PACKET)
        ),
        "unsaid.webp": riff((b"VP8 ", vp8), (b"EXIF", block), (b"XMP ", PACKET)),
        "behind.webp": riff((b"VP8 ", vp8)) + b"Sampletown",
        "c2pa.webp": riff((b"VP8 ", vp8), (b"C2PA", b"Sampletown")),
        "film.avif": encoded("AVIF", size=(64, 64)) + moved,
        "film.heic": encoded("HEIF", size=(64, 64)) + moved,
        "box.avif": encoded("AVIF", size=(64, 64)) + box(b"uuid", bytes(16) + PACKET),
        "long.tif": _tiff((33723, 4, -(-len(RECORDS) // 4), RECORDS.ljust(-(-len(RECORDS) // 4) * 4, b"\0"), True)),
        "map.tif": _tiff((33922, 12, 6, (0.0, 0.0, 0.0, 51.3, 0.0, 0.0), True)),
    }
    return samples | {"reduced.tif": _two_pages()}


def _tiff(tag: tuple[Any, ...]) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.full((64, 64, 3), 90, np.uint8), photometric="rgb", extratags=[tag], metadata=None)
    return buffer.getvalue()


def _two_pages() -> bytes:
    buffer = io.BytesIO()
    xmp = (700, 1, len(PACKET), PACKET, True)
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.full((64, 64, 3), 90, np.uint8), photometric="rgb", metadata=None)
        small = np.full((16, 16, 3), 90, np.uint8)
        writer.write(small, photometric="rgb", metadata=None, subfiletype=1, extratags=[xmp])
    return buffer.getvalue()


NAMES: Final = (
    "exif-ff.jpg", "meta.jpg", "c2pa.jpg", "photoshop25.jpg", "scans.jpg", "behind.jpg", "unreadable.jpg",
    "private.png", "c2pa.png", "folded.png", "profile.png", "text.png", "behind.png", "twice.webp", "unsaid.webp",
    "behind.webp", "c2pa.webp", "film.avif", "film.heic", "box.avif", "long.tif", "map.tif",
    "reduced.tif",
)  # fmt: skip


def pixels(data: bytes) -> Any:
    """By Pillow."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_goes(files: dict[str, bytes], photos: Fill, run: Run, nobody: Any, tmp_path: Path, name: str) -> None:
    assert set(files) == set(NAMES)
    photos({name: files[name]})
    _, rows = run(detector=nobody, strip_gps=True)
    assert rows[name]["status"] == "copied", rows[name]
    copy = (tmp_path / "out" / name).read_bytes()
    places = (PLACE, PLACE.hex().encode(), b"51,30N", b"Sampletown", struct.pack("<d", 51.3))
    held = files[name] if name != "folded.png" else files[name] + PLACE
    assert any(place in held for place in places) and not any(place in copy for place in places)
    assert b"zxIf" not in copy and not strip.still_names_place(copy)
    assert np.array_equal(pixels(copy), pixels(files[name]))


@pytest.mark.parametrize(
    "packet",
    [
        b'<x xmlns:geo="http://www.w3.org/2003/01/geo/wgs84_pos#"><geo:lat>51.3</geo:lat><geo:long>0</geo:long></x>',
        b"<x><dc:coverage>51.3</dc:coverage></x>",
        b"<x><q:WorldRegion>51.3</q:WorldRegion><q:ProvinceName>51.3</q:ProvinceName></x>",
        b'<x d:GpsLatitude="51.3" d:GpsLongtitude="51.3"/>',
    ],
)
def test_properties(packet: bytes, encoded: Make, photos: Fill, run: Run, nobody: Any, tmp_path: Path) -> None:
    jpeg = encoded()
    photos({"a.jpg": jpeg[:20] + segment(0xE1, XMP + packet) + jpeg[20:]})
    run(detector=nobody, strip_gps=True)
    copy = (tmp_path / "out" / "a.jpg").read_bytes()
    assert b"51.3" not in copy and copy.endswith(jpeg[20:])


def test_regions_of_faces_stay(encoded: Make, photos: Fill, run: Run, nobody: Any, tmp_path: Path) -> None:
    jpeg, packet = encoded(), b"<x><mwg:Regions>a</mwg:Regions><a:Latitudes/></x>"
    photos({"a.jpg": jpeg[:20] + segment(0xE1, XMP + packet) + jpeg[20:]})
    run(detector=nobody, strip_gps=True)
    assert b"<mwg:Regions>a</mwg:Regions>" in (tmp_path / "out" / "a.jpg").read_bytes()


def test_no_note_points_to_extended_xmp_that_is_gone(
    encoded: Make, photos: Fill, run: Run, nobody: Any, tmp_path: Path
) -> None:
    jpeg, note = (
        encoded(),
        b'<x xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="%s" dc:title="t"/>' % (b"F" * 32),
    )
    extended = EXTENDED_XMP + b"F" * 32 + struct.pack(">II", len(PACKET), 0) + PACKET
    photos({"a.jpg": jpeg[:20] + segment(0xE1, XMP + note) + segment(0xE1, extended) + jpeg[20:]})
    run(detector=nobody, strip_gps=True)
    copy = (tmp_path / "out" / "a.jpg").read_bytes()
    assert b"HasExtendedXMP" not in copy and b'dc:title="t"' in copy and b"51,30N" not in copy


def test_a_comment_and_an_empty_animation_stay(
    encoded: Make, photos: Fill, run: Run, nobody: Any, tmp_path: Path
) -> None:
    data = {"a.jpg": encoded(comment=b"a caption"), "a.webp": encoded("WEBP", save_all=True)}
    photos(dict(data))
    run(detector=nobody, strip_gps=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in data} == data


def test_metadata_of_tiff_called_numbers_are_read() -> None:
    data = _tiff((33723, 4, -(-len(RECORDS) // 4), RECORDS.ljust(-(-len(RECORDS) // 4) * 4, b"\0"), True))
    photoshop = open_picture(data, max_pixels=10**6).metadata.photoshop
    assert (iptc.iptc_of(photoshop) or b"").startswith(RECORDS)
