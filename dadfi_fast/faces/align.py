"""Photo to crop, and the crop's perturbation back to the photo, side by side.

A crop is a square around a face, upright (faces are not rotated), as wide as `MARGIN` times the face's longer side.
Where it reaches over the photo's edge the edge pixels are repeated; what is put back there is dropped.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from dadfi_fast.faces.shrink import shrink
from dadfi_fast.types import LEVELS, Face, Float32, UInt8

#: Side of the crop that is perturbed, in lengths of the face box. The pictures that people crop from CelebA have 1.5
#: (measured: 300 pictures of celeba176-test, libfacedetection); a little more leaves room for the feathered edge.
MARGIN = 1.6
#: Width of the feathered edge as a share of the crop's side.
FEATHER = 0.03
#: Pixels a side from which on a crop is large enough for perceptual metrics.
SMALLEST = 16
#: Rows and columns in the photo, then within the square.
Slices: TypeAlias = tuple[slice, slice, slice, slice]  # type: ignore[explicit-any]  # those of a slice's bounds


@dataclass(frozen=True)
class Square:
    """An axis-parallel square in photo pixels; it may reach over the photo's edges."""

    x0: int
    y0: int
    side: int

    def inside(self, height: int, width: int) -> Slices:
        """The part that lies in a photo of this size: its rows and columns there, then within the square.

        All four are empty where none does.
        """
        x0, y0 = min(max(self.x0, 0), width), min(max(self.y0, 0), height)
        x1 = max(x0, min(self.x0 + self.side, width))
        y1 = max(y0, min(self.y0 + self.side, height))
        in_photo = slice(y0, y1), slice(x0, x1)
        return *in_photo, slice(y0 - self.y0, y1 - self.y0), slice(x0 - self.x0, x1 - self.x0)


def square(face: Face, *, margin: float = MARGIN) -> Square:
    """The square around ``face`` whose side is ``margin`` times the box's longer side (at least 8 pixels)."""
    side = max(8, round(margin * max(face.width, face.height)))
    cx, cy = (face.x0 + face.x1) / 2, (face.y0 + face.y1) / 2
    return Square(round(cx - side / 2), round(cy - side / 2), side)


def whole(height: int, width: int) -> Face:
    """The box that stands for "the whole image counts as one face": its crop covers the picture exactly."""
    side = max(height, width) / MARGIN
    cx, cy = width / 2, height / 2
    return Face(cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2, 1.0)


def cut(pixels: UInt8, where: Square) -> UInt8:
    """The pixels [side, side, 3] of a square of a photo [H, W, 3]; edge pixels repeated outside of it."""
    height, width = pixels.shape[:2]
    rows, columns, inner_rows, inner_columns = where.inside(height, width)
    inside = pixels[rows, columns]
    if inside.shape[:2] == (where.side, where.side):
        return inside
    if not inside.size:
        y, x = (np.arange(start, start + where.side) for start in (where.y0, where.x0))
        repeated: UInt8 = pixels[np.ix_(y.clip(0, height - 1), x.clip(0, width - 1))]
        return repeated
    top, left = inner_rows.start, inner_columns.start
    bottom, right = where.side - inner_rows.stop, where.side - inner_columns.stop
    return cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def changed_crops(original: UInt8, changed: UInt8, where: Iterable[Square]) -> list[tuple[UInt8, UInt8]]:
    """The squares of two pictures [H, W, 3], as far as they lie within them, in which the pictures differ.

    Squares with a side below `SMALLEST` are left out.
    """
    crops = []
    for each in where:
        rows, columns, _, _ = each.inside(*original.shape[:2])
        one, other = (np.ascontiguousarray(picture[rows, columns]) for picture in (original, changed))
        if min(one.shape[:2]) >= SMALLEST and (one != other).any():
            crops.append((one, other))
    return crops


def to_network(crop: UInt8, size: int) -> Float32:
    """A crop [side, side, 3] as the generator sees it: [3, size, size] float32 in [-1, 1]."""
    small = shrink(crop, size, size)
    return np.ascontiguousarray(small.transpose(2, 0, 1)).astype(np.float32) / np.float32(LEVELS) - np.float32(1)


def to_photo(delta: Float32, side: int) -> Float32:
    """A crop's perturbation [3, S, S] on the [-1, 1] scale, at photo resolution: [side, side, 3] in levels, edge faded.

    Linear interpolation never leaves the range of what it interpolates, so the bound on ``delta`` holds.
    """
    faded = np.ascontiguousarray((delta * feather(delta.shape[-1])).transpose(1, 2, 0))
    return cv2.resize(faded, (side, side), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


@functools.lru_cache(maxsize=8)
def feather(size: int) -> Float32:
    """A mask [size, size] of `LEVELS` that falls to 0 within `FEATHER` of the edge (raised cosine)."""
    distance = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / (FEATHER * size), 0, 1))
    return (LEVELS * np.outer(ramp, ramp)).astype(np.float32)
