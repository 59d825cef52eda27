"""How the adversary reads, finds and crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.check.preprocess import around, cut_out, find_faces, read
from dadfi_fast.errors import PhotoError
from dadfi_fast.faces.align import Square
from dadfi_fast.images import heif
from dadfi_fast.types import Face


def test_read_turns_a_photo_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path / "a.jpg").shape == (40, 20, 3)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 7, [7, 7, 7]),
        ("RGBA", (10, 20, 30, 0), [10, 20, 30]),  # what is under full transparency is what a reader crops
        ("P", 0, [0, 0, 0]),
        ("I;16", 0xAB12, [0xAB, 0xAB, 0xAB]),  # 16 bits are scaled, not cut off
    ],
)
def test_read_gives_rgb_of_every_mode(tmp_path: Path, mode: str, colour: object, expected: list[int]) -> None:
    Image.new(mode, (4, 4), colour).save(tmp_path / "a.png")  # type: ignore[arg-type]
    assert read(tmp_path / "a.png")[0, 0].tolist() == expected


def test_read_converts_cmyk_plainly_where_its_profile_is_broken(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.jpg", icc_profile=b"no profile", quality=100)
    assert np.abs(read(tmp_path / "a.jpg")[0, 0].astype(int) - [0, 255, 255]).max() <= 2


def test_read_takes_no_suffix_for_granted(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", format="PNG")
    assert read(tmp_path / "a.jpg").shape == (4, 4, 3)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\nbroken"], ids=["empty", "text", "cut off"])
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PhotoError, match=r"cannot read .*a\.png: "):
        read(tmp_path / "a.png")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"cannot read .*gone\.png: "):
        read(tmp_path / "gone.png")


def test_every_face_is_cut_with_a_margin() -> None:
    faces = [Face(100, 100, 140, 160, 0.9), Face(10, 10, 50, 50, 0.8)]
    squares, has_face = find_faces(np.zeros((200, 300, 3), np.uint8), lambda pixels: faces)
    assert has_face
    assert squares == (Square(75, 85, 90), Square(0, 0, 60))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((200, 300, 3), Square(50, 0, 200)),
        ((301, 100, 3), Square(0, 100, 100)),
        ((64, 64, 3), Square(0, 0, 64)),
    ],
)
def test_without_a_face_he_takes_the_middle(shape: tuple[int, ...], expected: Square) -> None:
    assert find_faces(np.zeros(shape, np.uint8), lambda pixels: []) == ((expected,), False)


@pytest.mark.parametrize(("margin", "side"), [(1.0, 90), (0.9, 81), (1.1, 99)])
def test_another_margin_keeps_the_centre(margin: float, side: int) -> None:
    (where,) = around([Face(100, 100, 140, 160, 0.9)], 200, 300, margin=margin)
    assert where.side == side  # 1.5 times 60, times the margin
    assert (where.x0 + side / 2, where.y0 + side / 2) == pytest.approx((120, 130), abs=0.5)


@pytest.mark.parametrize(("margin", "expected"), [(0.9, Square(60, 10, 180)), (1.1, Square(50, 0, 200))])
def test_the_middle_of_a_picture_is_never_wider_than_the_picture(margin: float, expected: Square) -> None:
    assert around([], 200, 300, margin=margin) == (expected,)


def test_both_pictures_are_cut_at_the_same_place_and_sized() -> None:
    original = np.zeros((100, 100, 3), np.uint8)
    original[20:60, 30:70] = (255, 0, 51)
    (crop,) = cut_out(original, original + np.uint8(2), [Square(30, 20, 40)], sizes=[16, 32, 16])
    assert sorted(crop.original) == sorted(crop.protected) == [16, 32]
    for size, pixels in crop.original.items():
        assert pixels.shape == (3, size, size)
        assert pixels.dtype == np.float32
        assert np.allclose(pixels, np.array([1, -1, -0.6])[:, None, None], atol=1e-6)
    assert np.allclose(crop.protected[32][1:], np.array([2, 53])[:, None, None] / 127.5 - 1, atol=1e-6)


def test_over_the_edge_the_edge_is_repeated() -> None:
    picture = np.full((50, 50, 3), 255, np.uint8)
    (crop,) = cut_out(picture, picture, [Square(-20, -20, 60)], sizes=[32])
    assert np.allclose(crop.original[32], 1)


def test_he_reads_heic(tmp_path: Path) -> None:
    heif.register()
    pixels = np.full((32, 48, 3), 128, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.heic")
    assert np.abs(read(tmp_path / "a.heic").astype(int) - pixels).max() <= 3
