"""PNG: every kind of transparency, metadata wherever they stand, and places out of files that are copied."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import exif, iptc, png
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.decode.png import _ADAM7
from dadfi_fast.images.encode import encode
from dadfi_fast.types import Photo, Protected

Make = Callable[..., bytes]
Chunks = Iterable[tuple[bytes, bytes]]


def chunk(name: bytes, payload: bytes) -> bytes:
    """One chunk."""
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def file(samples: Any, bits: int, kind: int, before: Chunks = (), after: Chunks = ()) -> bytes:
    """A PNG of samples [H, W] or [H, W, C], with chunks before and behind its pixels."""
    height, width = samples.shape[:2]
    if bits == 16:
        rows = [samples[y].astype(">u2").tobytes() for y in range(height)]
    elif bits == 8:
        rows = [samples[y].astype(np.uint8).tobytes() for y in range(height)]
    else:
        unpacked = np.unpackbits(samples.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
        rows = [np.packbits(unpacked[y].ravel()).tobytes() for y in range(height)]
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)), *(chunk(*c) for c in before)]
    return png.SIGNATURE + b"".join((*parts, chunk(b"IDAT", body), *(chunk(*c) for c in after), chunk(b"IEND", b"")))


def photo(data: bytes, **options: Any) -> Photo:
    """``data`` decoded."""
    return decode(open_picture(data, max_pixels=10**8), Path("x"), **options)


def again(data: bytes, **options: Any) -> bytes:
    """``data`` decoded and encoded without a change."""
    source = photo(data, **options)
    return encode(Protected(source, source.pixels, (), 0, source.deep))


@pytest.mark.parametrize(("channels", "bits"), [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (3, 8), (3, 16)])
def test_a_colour_that_stands_for_transparency(channels: int, bits: int) -> None:
    samples = np.random.default_rng(0).integers(0, 2**bits, (8, 16, channels))
    key = samples[3, 5]
    packed = struct.pack(f">{channels}H", *key.tolist())
    stored = samples[..., 0] if channels == 1 else samples
    data = file(stored, bits, 0 if channels == 1 else 2, [(b"tRNS", packed)])
    top = 65535 if bits == 16 else 255
    for result in (photo(data), photo(again(data))):
        pixels = result.pixels if result.deep is None else result.deep
        assert np.array_equal(pixels, np.broadcast_to(samples * (top // (2**bits - 1)), (8, 16, 3)))
        expected = np.where((samples == key).all(axis=2), 0, top)
        assert result.alpha is not None and np.array_equal(result.alpha, expected)


EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
GPS_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><x exif:GPSLatitude="51,30N" dc:title="t"/></x:xmpmeta>'
RECORDS = b"\x1c\x02\x5a\x00\x0aSampletown\x1c\x02\x19\x00\x05alpha"


def raw_profile(kind: str, data: bytes, name: bytes = b"zTXt") -> tuple[bytes, bytes]:
    """A profile in hexadecimal, as ImageMagick writes it."""
    text = f"\n{kind}\n{len(data):8}\n{data.hex()}\n".encode()
    key = f"Raw profile type {kind}".encode() + b"\0"
    return name, key + (b"\0" + zlib.compress(text) if name == b"zTXt" else text)


SAID = {
    "eXIf": (b"eXIf", EXIF),
    "raw exif": raw_profile("exif", exif.PREFIX + EXIF),
    "raw exif, not compressed": raw_profile("exif", exif.PREFIX + EXIF, b"tEXt"),
    "raw APP1": raw_profile("APP1", exif.PREFIX + EXIF),
}


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("bits", [8, 16])
def test_orientation_is_found_wherever_it_stands(name: str, behind: bool, bits: int) -> None:
    samples = np.random.default_rng(0).integers(0, 2**bits, (8, 12, 3))
    data = file(samples, bits, 2, **{"after" if behind else "before": [SAID[name]]})
    result = photo(data)
    pixels = result.pixels if result.deep is None else result.deep
    assert np.array_equal(pixels, np.rot90(samples, -1))
    with Image.open(io.BytesIO(again(data))) as image:
        image.load()
        assert image.getexif()[0x0112] == 1


def test_texts_and_iptc_are_carried_and_read_by_pillow() -> None:
    chunks = [
        (b"tEXt", b"Title\0A Z\xfcrich"),
        (b"zTXt", b"Author\0\0" + zlib.compress(b"me")),
        (b"iTXt", b"Comment\0\1\0de\0Kommentar\0" + zlib.compress("grüße".encode())),
        raw_profile("iptc", iptc.resources_of(RECORDS) or b""),
    ]
    data = again(file(np.zeros((4, 4, 3)), 8, 2, chunks[:2], chunks[2:]))
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        texts = image.text  # type: ignore[attr-defined]
    assert (texts["Title"], texts["Author"], texts["Comment"]) == ("A Zürich", "me", "grüße")
    assert iptc.iptc_of(photo(data).metadata.photoshop) == RECORDS


COLOURS = {
    b"gAMA": struct.pack(">I", 100_000),
    b"cHRM": struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
    b"cICP": bytes((12, 13, 0, 1)),
    b"sRGB": b"\1",
}


@pytest.mark.parametrize("bits", [8, 16])
def test_colours_are_kept(bits: int) -> None:
    data = again(file(np.zeros((4, 4, 3)), bits, 2, COLOURS.items()))
    payloads = {each.name: bytes(each.payload) for each in png.chunks(data)}
    assert {name: payloads[name] for name in COLOURS} == COLOURS


@pytest.mark.parametrize(
    ("name", "payload", "note"),
    [
        (b"iCCP", b"x\0\0garbage", "left out a damaged iCCP chunk"),
        (b"pHYs", b"\0", "left out a damaged pHYs chunk"),
        (b"zTXt", b"Author\0\0garbage", "left out a damaged zTXt chunk"),
        (b"eXIf", b"garbage", "left out a damaged EXIF"),
        (b"pHYs", b"\xff" * 8 + b"\1", "left out an impossible resolution"),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x", "left out a damaged XMP"),
        (b"tEXt", b"Raw profile type exif\0nonsense", "left out a damaged tEXt chunk"),
    ],
)
def test_damaged_metadata_never_fail_a_photo(name: bytes, payload: bytes, note: str) -> None:
    result = photo(file(np.zeros((4, 4, 3)), 8, 2, [(name, payload)]))
    assert result.metadata.notes == (note,)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_wrong_checksum_beside_the_pixels_is_no_fault(bits: int) -> None:
    data = bytearray(file(np.zeros((4, 4, 3)), bits, 2, [(b"tEXt", b"Title\0x")]))
    data[data.index(b"Title")] ^= 1
    assert photo(bytes(data)).pixels.shape == (4, 4, 3)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("cut", [0.4, 0.9])
def test_lost_pixels_are(bits: int, cut: float) -> None:
    data = file(np.random.default_rng(0).integers(0, 2**bits, (40, 40, 3)), bits, 2)
    with pytest.raises(PhotoError, match="damaged"):
        photo(data[: int(len(data) * cut)])


def test_missing_rows_are_told_at_once() -> None:
    """OpenCV took seconds, and in a file of 66 bytes that says that it is large, gigabytes."""
    start = time.perf_counter()
    data = file(np.random.default_rng(0).integers(0, 2**16, (200, 220, 3)), 16, 2)
    large = png.SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 14_000, 14_000, 16, 2, 0, 0, 0))
    large += chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    for each in (data[:-60], data[: len(data) // 2] + chunk(b"IEND", b""), large):
        with pytest.raises(PhotoError, match="pixels are missing"):
            decode(open_picture(each, max_pixels=2 * 10**8), Path("x"))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 17), (40, 33)])
def test_interlaced(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, (*size, 3), dtype=np.uint16)
    parts = [pixels[y::down, x::across] for x, y, across, down in _ADAM7]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts if part.size for row in part)
    data = png.SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 16, 2, 0, 0, 1))
    result = photo(data + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    assert result.deep is not None and np.array_equal(result.deep, pixels)


def places(exif_block: Make) -> dict[str, tuple[bytes, bytes]]:
    """Chunks that name a place."""
    block = exif_block()
    return {
        "eXIf": (b"eXIf", block),
        "raw exif": raw_profile("exif", exif.PREFIX + block),
        "raw APP1": raw_profile("APP1", exif.PREFIX + block, b"tEXt"),
        "XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + GPS_XMP),
        "XMP, compressed": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(GPS_XMP)),
        "raw XMP": raw_profile("xmp", GPS_XMP),
        "raw IPTC": raw_profile("iptc", iptc.resources_of(RECORDS) or b""),
        "raw 8BIM": raw_profile("8bim", iptc.resources_of(RECORDS) or b""),
        "ImageMagick's copy": (b"tEXt", b"exif:GPSLatitude\x0051/1"),
    }


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", ["eXIf", "raw exif", "raw APP1", "XMP", "XMP, compressed", "raw XMP", "raw IPTC",
                                  "raw 8BIM", "ImageMagick's copy"])  # fmt: skip
def test_places_go_and_the_picture_stays(exif_block: Make, name: str, behind: bool) -> None:
    said = [places(exif_block)[name], (b"tEXt", b"Title\0kept")]
    data = file(np.arange(48).reshape(4, 4, 3), 8, 2, **{"after" if behind else "before": said})
    result = png.without_gps(data)
    raw = photo(result)
    assert result != data and not exif.has_gps(raw.metadata.exif) and not iptc.has_place(raw.metadata.photoshop)
    for word in (b"GPS", b"Sampletown", b"51/1"):
        assert all(word not in _unfolded(each) for each in png.chunks(result))
    assert np.array_equal(raw.pixels, photo(data).pixels) and ("Title", "kept") in raw.metadata.texts
    assert png.without_gps(result) == result
    with Image.open(io.BytesIO(result)) as image:
        image.load()
    assert png.pixels_only(result) == png.pixels_only(data)


def _unfolded(each: png.Chunk) -> bytes:
    payload = bytes(each.payload)
    at = payload.find(b"\x78\x9c")
    return payload if each.name == b"IDAT" or at < 0 else payload[:at] + zlib.decompress(payload[at:])


def test_a_text_that_unfolds_to_too_much_is_left_out() -> None:
    bomb = b"Author\0\0" + zlib.compress(bytes(64 << 20), 9)
    assert photo(file(np.zeros((4, 4, 3)), 8, 2, [(b"zTXt", bomb)])).metadata.texts == ()
