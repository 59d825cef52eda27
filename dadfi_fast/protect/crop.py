"""The faces of a photo, cut out for the generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dadfi_fast.faces.align import Square, cut, square, to_network
from dadfi_fast.faces.shrink import Pyramid, halvings
from dadfi_fast.protect.blocks import BlockPyramid
from dadfi_fast.types import Face, Float32, UInt8


def squares(faces: Sequence[Face]) -> tuple[Square, ...]:
    """Where the perturbation of each face goes."""
    return tuple(square(face) for face in faces)


def crops(photo: UInt8 | Pyramid | BlockPyramid, where: Sequence[Square], *, size: int) -> Float32:
    """The squares of a photo [H, W, 3]: [B, 3, size, size] float32 in [-1, 1].

    A large one is cut out of the photo's half, or of the half of that: where a square would be halved, too. Its edges
    lie on whole pixels there, so that it is off by half of one at the most, 1/500 of its side.
    """
    if isinstance(photo, BlockPyramid):
        return np.stack([to_network(photo.crop(each, size), size) for each in where])
    pyramid = photo if isinstance(photo, Pyramid) else Pyramid(photo)
    return np.stack([to_network(_seen(pyramid, each, size), size) for each in where])


def _seen(pyramid: Pyramid, where: Square, size: int) -> UInt8:
    """The pixels of a square, at least twice as many a side as the generator looks at."""
    shorter = min(pyramid.pixels.shape[:2])
    level = min(halvings(where.side, where.side, size, size), shorter.bit_length() - 1)
    x0, y0, side = (round(n / (1 << level)) for n in (where.x0, where.y0, where.side))
    return cut(pyramid.level(level), Square(x0, y0, side))
