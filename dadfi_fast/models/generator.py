"""The perturbation generator ``Gen`` of DADFI (PeerJ CS 10:e2356, Eq. 1-2), in the shape of AdvGAN's.

Three convolutions with instance norm (IN), four residual blocks, two transposed convolutions with IN and a last
convolution to the picture's channels: x_adv = x + Gen(x). As in AdvGAN (Xiao et al. 2018) the output layer has no IN: a
normalised output could not vary its strength. The bound holds by construction: delta = lim * tanh(.).

The `gate` is not in the paper: it weakens the perturbation where people see it best.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dadfi_fast.errors import UsageError
from dadfi_fast.ops.instance_norm_residual import instance_norm_residual

Bound: TypeAlias = Literal["tanh", "clamp", "hinge-only"]

#: Channels after the first convolution; each of the next two doubles them.
PRESETS: Final = {"s": 8, "m": 16, "l": 32}
#: Height and width of what goes in must be multiples of this.
MULTIPLE: Final = 4
#: Difference between grey values, on the [-1, 1] scale, at and above which an area is not plain (`gate`).
_PLAIN: Final = 0.3
#: Grey values over which the dark and the bright ramp run, and the share of a perturbation removed at their ends.
_DARK: Final = (-0.8, -0.5)
_BRIGHT: Final = (0.0, 0.4)
_OFF_DARK: Final = 0.75
_OFF_BRIGHT: Final = 1.0


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


def gate(x: Tensor) -> Tensor:
    """What a perturbation of ``x`` [B, 3, H, W] in [-1, 1] is multiplied by: [B, 1, H, W] in [0, 1].

    1 except in plain areas (a wall, a jacket, light skin), where nothing hides a change: there it falls as they get
    brighter or darker. FLIP sees the bright ones; ColorVideoVDP sees the dark ones, where one level is a larger share
    of the light (docs/decisions/0031). An area is plain where the means of 4 x 4 pixels differ little among 3 x 3 of
    them; detail finer than that does not count. Working on those means keeps the gate cheap: per pixel it took OpenVINO
    as long as the rest of the network.
    """
    grey = F.avg_pool2d(x, MULTIPLE).mean(1, keepdim=True)
    highest, lowest = F.max_pool2d(grey, 3, 1, 1), -F.max_pool2d(-grey, 3, 1, 1)
    tone, plain = _smooth(grey), (1 - (highest - lowest) / _PLAIN).clamp(0, 1)
    dark = ((_DARK[1] - tone) / (_DARK[1] - _DARK[0])).clamp(0, 1)
    bright = ((tone - _BRIGHT[0]) / (_BRIGHT[1] - _BRIGHT[0])).clamp(0, 1)
    weakened = _smooth(1 - plain * torch.maximum(_OFF_DARK * dark, _OFF_BRIGHT * bright))
    return F.interpolate(weakened, scale_factor=float(MULTIPLE), mode="nearest")


def _smooth(plane: Tensor) -> Tensor:
    return F.avg_pool2d(plane, 3, 1, 1, count_include_pad=False)


class Generator(nn.Module):
    """Picture to perturbation.

    Args:
        preset: ``s``, ``m`` or ``l``: 8, 16 or 32 channels after the first convolution.
        lim: bound of the perturbation on the [-1, 1] scale.
        bound: how it is kept: ``tanh`` (lim * tanh), ``clamp``, or ``hinge-only`` (only the loss of Eq. 4 asks for it).
        gated: whether the perturbation is multiplied by the picture's `gate`.
    """

    def __init__(
        self, preset: str = "s", *, lim: float = 0.05, bound: Bound = "tanh", gated: bool = False
    ) -> None:  # fmt: skip
        super().__init__()
        if preset not in PRESETS:
            raise UsageError(f"unknown generator preset {preset!r}. Available: {', '.join(PRESETS)}")
        self.preset, self.lim, self.bound, self.gated = preset, lim, bound, gated
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
            out = self.lim * torch.tanh(out)
        elif self.bound == "clamp":
            out = out.clamp(-self.lim, self.lim)
        return gate(x) * out if self.gated else out
