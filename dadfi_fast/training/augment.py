"""What happens to a photo between its protection and the adversary, differentiable (expectation over transforms).

Everything maps pictures [B, 3, H, W] in [-1, 1] to pictures in the same range; gradients pass roundings unchanged
(straight-through, Bengio et al. 2013).
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dadfi_fast.attacks.adversary import cut, framing
from dadfi_fast.ops.separable import filtered
from dadfi_fast.training.device import sent

#: Quantisation tables of the JPEG standard (ITU T.81, Annex K), luminance and chrominance.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)


def rounded(x: Tensor) -> Tensor:
    """``x`` rounded to whole levels of 0-255, gradient unchanged."""
    return _whole((x + 1) * 127.5) / 127.5 - 1


def jpeg(x: Tensor, quality: Tensor, *, chroma: int = 2) -> Tensor:
    """JPEG encoded and decoded (ITU T.81, T.871), rounding straight-through.

    Args:
        x: [B, 3, H, W] in [-1, 1].
        quality: [B] on any device, 1 to 100, as libjpeg scales its tables.
        chroma: 2 for 4:2:0, 1 for 4:4:4.

    Returns:
        [B, 3, H, W] in [-1, 1].
    """
    height, width = x.shape[-2:]
    block, quality = 8 * chroma, sent(quality, x.device)
    padded = F.pad(x, (0, -width % block, 0, -height % block), mode="replicate")
    ycc = _whole(F.conv2d((padded + 1) * 127.5, _to_ycc(x.device)))
    luma = _quantise(ycc[:, :1] - 128, _tables(quality, _LUMINANCE)) + 128
    colour = F.avg_pool2d(ycc[:, 1:], chroma) if chroma > 1 else ycc[:, 1:]
    colour = _quantise(colour, _tables(quality, _CHROMINANCE))
    if chroma > 1:
        colour = F.interpolate(colour, scale_factor=chroma, mode="bilinear", align_corners=False)
    rgb = F.conv2d(torch.cat([luma, colour], dim=1), _to_rgb(x.device))
    return rounded((rgb[:, :, :height, :width] / 127.5 - 1).clamp(-1, 1))


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of standard deviation ``sigma`` pixels; edges repeated."""
    radius = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-torch.arange(-radius, radius + 1).square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    return filtered(x, kernel, kernel)


def resized(x: Tensor, side: int) -> Tensor:
    """Antialiased bilinear resize to [B, 3, side, side]."""
    if x.shape[-1] == side == x.shape[-2]:
        return x
    return F.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def framed(x: Tensor, side: int, rng: torch.Generator, *, zoom: float = 0.15, shift: float = 0.06) -> Tensor:
    """Cut every picture anew, as different people frame a face, flip half of them, and resize to ``side``.

    Args:
        x: [B, 3, H, W].
        zoom, shift: see `dadfi_fast.attacks.adversary.Adversary`.
    """
    frames = framing(len(x), rng, zoom=zoom, shift=shift, mirror=True)
    return cut(x, sent(frames, x.device), side)


def _whole(x: Tensor) -> Tensor:
    """Rounded to whole numbers, gradient unchanged."""
    return x + (x.round() - x).detach()


def _quantise(plane: Tensor, tables: Tensor) -> Tensor:
    """Block DCT of [B, C, H, W], division by ``tables`` [B, 8, 8], rounding, and the way back."""
    batch, channels, height, width = plane.shape
    dct = _dct(plane.device)
    # One product with the 64x64 matrix of the two-dimensional transform: many products of 8x8 are far slower.
    blocks = plane.reshape(batch, channels, height // 8, 8, width // 8, 8).transpose(3, 4).reshape(batch, -1, 64)
    steps = tables.reshape(batch, 1, 64)
    scaled = blocks @ dct.T / steps
    back = (_whole(scaled) * steps) @ dct
    return back.reshape(batch, channels, height // 8, width // 8, 8, 8).transpose(3, 4).reshape(plane.shape)


def _tables(quality: Tensor, base: tuple[tuple[int, ...], ...]) -> Tensor:
    """libjpeg's scaling of a table by quality: [B] -> [B, 8, 8], whole numbers of 1 to 255."""
    q = quality.float()
    scale = torch.where(q < 50, 5000 / q, 200 - 2 * q)[:, None, None]
    return ((_base(base, quality.device) * scale + 50) / 100).floor().clamp(1, 255)


@functools.cache
def _base(table: tuple[tuple[int, ...], ...], device: torch.device) -> Tensor:
    return torch.tensor(table, dtype=torch.float32, device=device)


@functools.cache
def _dct(device: torch.device) -> Tensor:
    """The orthonormal DCT-II of an 8x8 block as a matrix [64, 64]."""
    n = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos(math.pi * (2 * n + 1) * n[:, None] / 16) / 2
    matrix[0] /= math.sqrt(2)
    return torch.kron(matrix, matrix).float().to(device)


@functools.cache
def _to_ycc(device: torch.device) -> Tensor:
    rows = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    return torch.tensor(rows, device=device)[:, :, None, None]


@functools.cache
def _to_rgb(device: torch.device) -> Tensor:
    rows = [[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]]
    return torch.tensor(rows, device=device)[:, :, None, None]
