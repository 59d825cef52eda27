"""The adversary: he reads the protected file as anyone would, finds the faces in it, and crops and resizes on his own.

He sees the protected picture only, so the boxes found there cut the original too: the two fakes then differ by the
protection and by nothing else.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from PIL import Image, ImageCms, ImageOps

from dadfi_fast.errors import PhotoError
from dadfi_fast.faces.adversary import adversary_square, to_models
from dadfi_fast.faces.align import Square, cut
from dadfi_fast.images import heif
from dadfi_fast.types import Face, Float32, UInt8

#: Pixels [H, W, 3] to the faces in them; every detector of `dadfi_fast.faces` is one.
Find: TypeAlias = Callable[[UInt8], Sequence[Face]]

#: Suffixes of pictures that Pillow reads through another package.
HEIC: Final = (".heic", ".heif", ".hif")


@dataclass(frozen=True, eq=False)
class Crop:
    """One face as the deepfake models get it, from both pictures."""

    where: Square
    original: Mapping[int, Float32]  # size -> [3, size, size] in [-1, 1]
    protected: Mapping[int, Float32]  # likewise


def read(path: Path) -> UInt8:
    """The pixels of a picture file, upright, [H, W, 3] RGB.

    Raises:
        PhotoError: the file is missing, or no picture that Pillow decodes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large pictures and odd metadata: not the point here
            if path.suffix.lower() in HEIC:
                heif.register()
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image)
                return np.array(_from_cmyk(upright) if upright.mode == "CMYK" else _eight_bits(upright).convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise PhotoError(f"cannot read {path}: {error}") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey, which Pillow would cut off at 255 instead of scaling."""
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))


def _from_cmyk(image: Image.Image) -> Image.Image:
    """CMYK as sRGB by its own profile, as viewers show it: Pillow's plain formula gives other colours."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        turned = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (KeyError, OSError, TypeError, ImageCms.PyCMSError):  # none, or a broken one
        turned = None
    return turned or image.convert("RGB")


def find_faces(pixels: UInt8, find: Find) -> tuple[tuple[Square, ...], bool]:
    """The squares that he cuts out of a picture [H, W, 3], and whether he found a face."""
    faces = find(pixels)
    return around(faces, *pixels.shape[:2]), bool(faces)


def around(faces: Sequence[Face], height: int, width: int, *, margin: float = 1.0) -> tuple[Square, ...]:
    """The squares around ``faces`` in a picture of this size, ``margin`` times as wide as usual.

    Where there is no face he takes the largest square in the middle, or one that is narrower by a ``margin`` below 1.
    """
    if faces:
        return tuple(adversary_square(face, margin=margin) for face in faces)
    side = max(1, round(min(margin, 1) * min(height, width)))
    return (Square((width - side) // 2, (height - side) // 2, side),)


def cut_out(original: UInt8, protected: UInt8, squares: Iterable[Square], *, sizes: Iterable[int]) -> list[Crop]:
    """Both pictures cut at the same squares and resized to each of ``sizes``."""
    wanted = sorted(set(sizes))
    return [Crop(s, to_models(cut(original, s), wanted), to_models(cut(protected, s), wanted)) for s in squares]
