"""How an adversary cuts a face out of a photo for deepfake models; needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from dadfi_fast.faces.align import Square, square
from dadfi_fast.faces.resample import resize
from dadfi_fast.types import LEVELS, Face, Float32, UInt8

#: Side of the crop in lengths of the face box: that of the pictures that deepfake models were trained on.
MARGIN: Final = 1.5


def adversary_square(face: Face, *, margin: float = 1.0) -> Square:
    """The square around ``face``, ``margin`` times as wide as usual."""
    return square(face, margin=MARGIN * margin)


def to_models(crop: UInt8, sizes: Iterable[int]) -> dict[int, Float32]:
    """A crop [side, side, 3] at each of ``sizes``, as models of that size see it: [3, size, size] in [-1, 1]."""
    crops = {size: np.empty((3, size, size), np.float32) for size in sizes}
    for channel in range(3):  # one after the other, as a crop may be as large as the photo
        plane = crop[..., channel].astype(np.float32)
        plane /= np.float32(LEVELS)
        plane -= np.float32(1)
        for size, planes in crops.items():
            np.clip(resize(plane, size), -1, 1, out=planes[channel])
    return crops
