"""Encoders: networks whose output other networks work on. Needs no torch.

A latent diffusion editor sees only the latents of a photo, and a face swapper only an embedding of the person. The
output for a picture is a code [B, D]. Two codes are compared by d_code: their squared Euclidean distance over the
squared length of the first. For latents its root is the relative shift; for embeddings of length 1 it is 2 - 2 cos.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from dadfi_fast.deepfakes.edits import Aim, Edits
from dadfi_fast.types import Float32, Float64

#: A code counts as broken from this d_code on: latents moved by their own length, or a cosine of 0.5.
BROKEN: Final = 1.0


@dataclass(frozen=True)
class Kind:
    """A family of encoders."""

    reads: str  # what a code stands for
    unit: bool  # whether codes have length 1


#: The families of encoders.
ENCODERS: Final[Mapping[str, Kind]] = {
    "taesd": Kind("latents", unit=False),
    "mobilefacenet": Kind("identity", unit=True),
}


class Unedited(Edits):
    """An encoder has no edits: a single empty one stands for its output."""

    takes = "edit"

    @property
    def names(self) -> tuple[str, ...]:
        return ("code",)

    @property
    def size(self) -> int:
        return 0

    def __call__(self, labels: Float32) -> Float32:
        return np.zeros((1, len(labels), 0), np.float32)

    def aims(self, labels: Float32) -> list[Aim]:
        return []


def code_distance(code: Float32, moved: Float32) -> Float64:
    """d_code [B] of two answers [B, D]."""
    one, other = code.astype(np.float64), moved.astype(np.float64)
    distance: Float64 = ((other - one) ** 2).sum(1) / (one**2).sum(1)
    return distance
