"""The perturbation generator ``Gen`` of DADFI (PeerJ CS 10:e2356, Eq. 1-2), in the shape of AdvGAN's.

Three convolutions with instance norm (IN), four residual blocks, two transposed convolutions with IN and a last
convolution to the picture's channels: x_adv = x + Gen(x). As in AdvGAN (Xiao et al. 2018) the output layer has no IN: a
normalised output could not vary its strength. The bound holds by construction: delta = lim * tanh(.).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn

from dadfi_fast.errors import UsageError
from dadfi_fast.ops.instance_norm_residual import instance_norm_residual

Bound: TypeAlias = Literal["tanh", "clamp", "hinge-only"]

#: Channels after the first convolution; each of the next two doubles them.
PRESETS: Final = {"s": 8, "m": 16, "l": 32}
#: Height and width of what goes in must be multiples of this.
MULTIPLE: Final = 4


class ConvNorm(nn.Module):
    """A convolution, then the fused op `instance_norm_residual` (with ReLU unless ``relu`` is false)."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, *, relu: bool = True) -> None:
        super().__init__()
        self.conv, self.relu = conv, relu
        self.weight = nn.Parameter(torch.ones(conv.out_channels))
        self.bias = nn.Parameter(torch.zeros(conv.out_channels))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        out: Tensor = instance_norm_residual(self.conv(x), self.weight, self.bias, residual, self.relu)
        return out


class Residual(nn.Module):
    """conv3 - IN - ReLU - conv3 - IN, added to the input (activation after the first convolution only)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvNorm(nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.second = ConvNorm(nn.Conv2d(width, width, 3, padding=1, bias=False), relu=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x), x)
        return out


class Generator(nn.Module):
    """Picture to perturbation.

    Args:
        preset: ``s``, ``m`` or ``l``: 8, 16 or 32 channels after the first convolution.
        lim: bound of the perturbation on the [-1, 1] scale.
        bound: how it is kept: ``tanh`` (lim * tanh), ``clamp``, or ``hinge-only`` (only the loss of Eq. 4 asks for it).
    """

    def __init__(self, preset: str = "s", *, lim: float = 0.05, bound: Bound = "tanh") -> None:
        super().__init__()
        if preset not in PRESETS:
            raise UsageError(f"unknown generator preset {preset!r}. Available: {', '.join(PRESETS)}")
        self.preset, self.lim, self.bound = preset, lim, bound
        w = PRESETS[preset]
        self.down = nn.Sequential(
            ConvNorm(nn.Conv2d(3, w, 3, padding=1, bias=False)),
            ConvNorm(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1, bias=False)),
            ConvNorm(nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1, bias=False)),
        )
        self.blocks = nn.Sequential(*(Residual(4 * w) for _ in range(4)))
        self.up = nn.Sequential(
            ConvNorm(nn.ConvTranspose2d(4 * w, 2 * w, 4, stride=2, padding=1, bias=False)),
            ConvNorm(nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1, bias=False)),
            nn.Conv2d(w, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The perturbation for ``x`` [B, 3, H, W] in [-1, 1]; H, W multiples of `MULTIPLE`; same shape, |.| <= lim."""
        out: Tensor = self.up(self.blocks(self.down(x)))
        if self.bound == "tanh":
            return self.lim * torch.tanh(out)
        return out.clamp(-self.lim, self.lim) if self.bound == "clamp" else out
