"""How an adversary cuts a face out of a protected photo: as the owner did, nearly so, or in a way of his own.

Differentiable, so that attacks and training can take the expectation over it (Athalye et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Adversary:
    """Frames faces at random.

    Args:
        zoom: a frame is up to this share larger or smaller than the owner's.
        shift: its centre moves by up to this share of the side.
    """

    name: str
    zoom: float = 0.0
    shift: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether the owner's crop itself is the model's input."""
        return not (self.zoom or self.shift)

    def frames(self, count: int, rng: torch.Generator) -> Tensor:
        """Frames for `cut`, drawn anew: [count, 2, 3]."""
        return framing(count, rng, zoom=self.zoom, shift=self.shift, mirror=False)


#: A0: the published protocol, the picture itself is the model's input. A1: the same detector run on the protected file.
#: A2: another margin or another detector.
ADVERSARIES: Final[Mapping[str, Adversary]] = {
    "A0": Adversary("A0"),
    "A1": Adversary("A1", zoom=0.02, shift=0.01),
    "A2": Adversary("A2", zoom=0.10, shift=0.05),
}


def framing(count: int, rng: torch.Generator, *, zoom: float, shift: float, mirror: bool) -> Tensor:
    """``count`` frames for `cut`, [count, 2, 3]; half of them flipped if ``mirror``."""
    scale = 1 + zoom * (2 * torch.rand(count, generator=rng) - 1)
    flips = torch.where(torch.rand(count, generator=rng) < 0.5, -1.0, 1.0) if mirror else torch.ones(count)
    move = 2 * shift * (2 * torch.rand(count, 2, generator=rng) - 1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * flips, scale, move
    return theta


def cut(x: Tensor, frames: Tensor, side: int) -> Tensor:
    """Cut ``x`` [B, 3, H, W] to ``frames`` [B, 2, 3] (affine, as `torch.nn.functional.affine_grid` takes them).

    Returns:
        [B, 3, side, side], bilinear; edges are repeated where a frame is larger than its picture.
    """
    grid = F.affine_grid(frames.to(x.device), [len(x), 3, side, side], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
