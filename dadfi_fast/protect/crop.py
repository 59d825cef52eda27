"""The faces of a photo, cut out for the generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dadfi_fast.faces.align import Square, cut, square, to_network
from dadfi_fast.types import Face, Float32, UInt8


def squares(faces: Sequence[Face]) -> tuple[Square, ...]:
    """Where the perturbation of each face goes."""
    return tuple(square(face) for face in faces)


def crops(pixels: UInt8, where: Sequence[Square], *, size: int) -> Float32:
    """The squares of a photo [H, W, 3]: [B, 3, size, size] float32 in [-1, 1]."""
    return np.stack([to_network(cut(pixels, each), size) for each in where])
