"""EXIF blocks changed in place: what must go is gone, what must stay is the same bytes at the same place."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dadfi_fast.images import exif

MAKER = b"MAKERNOTE-with-offsets-of-its-own"
Block = Callable[..., bytes]


def read(block: bytes) -> Image.Exif:
    """The block as Pillow reads it."""
    parsed = Image.Exif()
    parsed.load(b"Exif\0\0" + block)
    return parsed


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"], ids=["bare", "prefixed"])
class TestBlock:
    """Both byte orders, with and without the prefix."""

    def test_it_is_what_pillow_reads(self, exif_block: Block, order: str, prefix: bytes) -> None:
        original = prefix + exif_block(order=order)
        assert exif.orientation(original) == 6 == read(exif_block(order=order))[0x0112]
        assert exif.has_gps(original)
        assert read(exif_block(order=order)).get_ifd(0x8825)[2] == (51, 30, 12)

    def test_orientation_is_reset_and_the_rest_stays_in_place(
        self, exif_block: Block, order: str, prefix: bytes
    ) -> None:
        original = exif_block(order=order)
        result = exif.cleaned(prefix + original)
        assert result is not None and exif.orientation(result) == 1
        differing = [n for n, (a, b) in enumerate(zip(original, result, strict=True)) if a != b]
        assert len(differing) == 1

    def test_gps_goes_with_its_values(self, exif_block: Block, order: str, prefix: bytes) -> None:
        result = exif.cleaned(prefix + exif_block(order=order), strip_gps=True)
        assert result is not None and not exif.has_gps(result)
        assert struct.pack(order + "6I", 51, 1, 30, 1, 12, 1) not in result
        assert read(result)[0x010F] == "CameraX" and result.index(MAKER) == exif_block(order=order).index(MAKER)

    def test_the_preview_goes(self, exif_block: Block, order: str, prefix: bytes) -> None:
        preview = b"\xff\xd8 the face, unprotected \xff\xd9"
        result = exif.cleaned(prefix + exif_block(order=order, preview=preview))
        assert (
            result is not None
            and b"unprotected" not in result
            and len(result) < len(exif_block(order=order, preview=preview))
        )
        assert read(result)[0x010F] == "CameraX" and exif.has_gps(result)


def test_without_gps_keeps_the_orientation(exif_block: Block) -> None:
    result = exif.without_gps(exif_block())
    assert exif.orientation(result) == 6 and not exif.has_gps(result)


@pytest.mark.parametrize("turn", [None, 0, 9])
def test_no_sensible_orientation_is_upright(exif_block: Block, turn: int | None) -> None:
    assert exif.orientation(exif_block(turn=turn)) == 1


@pytest.mark.parametrize("damaged", [b"", b"no tiff", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x05\0"])
def test_damaged_blocks_are_left_out(damaged: bytes) -> None:
    assert exif.orientation(damaged) == 1
    assert exif.cleaned(damaged, strip_gps=True) is None


@pytest.mark.parametrize("damaged", [b"no tiff", b"II*\0", b"II*\0\xff\xff\xff\xff"])
def test_what_nobody_can_read_may_name_a_place(damaged: bytes) -> None:
    assert exif.has_gps(damaged) and exif.without_gps(damaged) == b""
    assert not exif.has_gps(b"") and not exif.has_gps(bytes(20))


@given(noise=st.binary(max_size=200), at=st.integers(0, 200))
def test_any_bytes_are_survived(exif_block: Block, noise: bytes, at: int) -> None:
    damaged = exif_block()[:at] + noise + exif_block()[at:]
    exif.orientation(damaged)
    exif.has_gps(damaged)
    exif.cleaned(damaged, strip_gps=True)


def test_a_block_that_pillow_wrote() -> None:
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "CameraX", 3
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=tags)
    result = exif.cleaned(Image.open(buffer).info["exif"])
    assert result is not None and read(result)[0x0112] == 1 and read(result)[0x010F] == "CameraX"


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_directory_behind_the_first_goes(exif_block: Block, order: str, encoded: Block) -> None:
    """Strips that are not compressed, as some cameras' thumbnails are, and a third directory."""
    pixels = bytes(range(1, 251)) * 4
    block = bytearray(exif_block(order=order))
    link = exif._Block(bytes(block)).link(8)
    at = len(block)
    struct.pack_into(order + "I", block, link, at)
    for number in (1, 2):
        end = at + 2 + 24 + 4
        block += struct.pack(order + "H", 2) + struct.pack(order + "HHII", 0x0111, 4, 1, end)
        block += struct.pack(order + "HHII", 0x0117, 4, 1, len(pixels))
        at = end + len(pixels)
        block += struct.pack(order + "I", at if number == 1 else 0) + pixels
    result = exif.cleaned(bytes(block))
    assert result is not None and pixels[:50] not in result
    assert read(result)[0x010F] == "CameraX" and result.index(MAKER) == exif_block(order=order).index(MAKER)


def test_previews_in_maker_notes_are_blanked_in_place(encoded: Block) -> None:
    preview = encoded(size=(24, 24))
    tags = Image.Exif()
    tags[0x010F] = "CameraX"
    tags.get_ifd(0x8769)[0x927C] = b"NOTES\0" + preview + b"behind"
    block = tags.tobytes()[6:]
    result = exif.cleaned(block)
    assert result is not None and len(result) == len(block)
    assert result == block.replace(preview, bytes(len(preview)))


def test_xmp_and_photoshop_in_exif_would_escape(exif_block: Block) -> None:
    tags = Image.Exif()
    tags[0x010F], tags[700] = "CameraX", b"<x exif:GPSLatitude='51'/>"
    result = exif.cleaned(tags.tobytes()[6:])
    assert result is not None and b"GPSLatitude" not in result and read(result)[0x010F] == "CameraX"


def test_what_is_known_of_a_directory_ends_with_a_change() -> None:
    """Directories are read once; a change to one of them, and to no other, has it read again."""
    first = struct.pack("<HHHIIHHIII", 2, 0x0112, 3, 1, 6, 0x8769, 4, 1, 38, 0)
    inner = struct.pack("<HHHIII", 1, 0x9000, 7, 4, 0x30333230, 0)
    block = exif._Block(b"II*\0\x08\0\0\0" + first + inner)
    assert block.tags(8) == [0x0112, 0x8769] and block.tags(38) == [0x9000]
    field = block.find(8, 0x0112)
    assert field is not None
    block.drop(8, field)
    assert block.tags(8) == [0x8769] and block.find(8, 0x0112) is None and block.number(8, 0x8769) == 38
    block.blank(38, 2)
    assert block.tags(38) == [] and block.tags(8) == [0x8769]
    block.cut(20)
    with pytest.raises(struct.error):
        block.tags(38)


def test_the_orientation_of_a_cleaned_block_is_the_one_that_was_stated(exif_block: Block) -> None:
    result = exif.clean(exif_block())
    assert result.orientation == 6 and exif.orientation(result.block) == 1 and result.unread == ()
    assert exif.clean(b"no block") == exif.Cleaned(None, None, ()) == exif.clean(None)
