"""The example photos show what examples/README.md says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dadfi_fast.faces.detector import DETECTORS, choose_detector

ORIENTATION = 0x0112


def test_they_are_small_and_their_origins_named(root: Path, examples: Path) -> None:
    photos = sorted(examples.iterdir())
    origins = (root / "examples" / "README.md").read_text(encoding="utf-8")
    assert len(photos) >= 5
    assert sum(photo.stat().st_size for photo in photos) < 1_500_000
    for photo in photos:
        assert f"`{photo.name}`" in origins


@pytest.mark.parametrize(
    ("name", "mode", "upright", "orientation"),
    [
        ("portrait.jpg", "RGB", (512, 512), 1),
        ("group.jpg", "RGB", (1280, 720), 1),
        ("rotated.jpg", "RGB", (384, 512), 6),  # stored as 512 x 384
        ("cutout.png", "RGBA", (300, 330), 1),
        ("no-face.jpg", "RGB", (640, 427), 1),
    ],
)
def test_they_are_of_many_kinds(
    examples: Path, name: str, mode: str, upright: tuple[int, int], orientation: int
) -> None:
    with Image.open(examples / name) as photo:
        assert photo.mode == mode
        assert photo.getexif().get(ORIENTATION, 1) == orientation
        assert ImageOps.exif_transpose(photo).size == upright
        assert mode != "RGBA" or photo.getchannel("A").getextrema() == (0, 255)


@pytest.mark.skipif(DETECTORS["libfacedetection"]().missing(None) is not None, reason="no wheel for this machine")
@pytest.mark.parametrize(
    ("name", "faces"),
    [("portrait.jpg", 1), ("group.jpg", 6), ("rotated.jpg", 1), ("cutout.png", 1), ("no-face.jpg", 0)],
)
def test_their_faces_are_found(examples: Path, name: str, faces: int) -> None:
    with Image.open(examples / name) as photo:
        pixels = np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))
    detector, _ = choose_detector()
    assert len(detector(pixels)) == faces
