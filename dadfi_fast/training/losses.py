"""The terms of the objective (Eq. 10 and 14) and what is added to it. Every term is a mean over the batch."""

from __future__ import annotations

import functools
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from dadfi_fast.metrics.differentiable import linear

#: Luminance of red, green and blue light (ITU-R BT.709).
_REC_709: Final = (0.2126, 0.7152, 0.0722)
#: Ambient light that the display reflects, as a share of its white; of the values tried, 0.003 to 0.3, this one matches
#: ColorVideoVDP best.
_AMBIENT: Final = 0.03


def recognizer_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What a recognizer minimises (Eq. 3, 7): logits of the real side up, of the fake side down."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def fooling_loss(fake: Tensor) -> Tensor:
    """What the generator minimises against a recognizer: the non-saturating form, -log sigmoid(logits)."""
    return F.softplus(-fake).mean()


def hinge(delta: Tensor, lim: float) -> Tensor:
    """Eq. 4: max(0, ||delta||_inf - lim), the norm over each picture [B, 3, H, W]."""
    return F.relu(delta.abs().flatten(1).amax(1) - lim).mean()


def shortfall(distortion: Tensor, goal: float) -> Tensor:
    """How far the roots of the distortions [B] stay below that of ``goal``; what is already broken adds nothing.

    Of the roots, because a distortion grows with the square of the perturbation: its own gradient vanishes where it is
    small, which is where something has to be learned.
    """
    return F.relu(goal**0.5 - torch.sqrt(distortion + 1e-6)).mean()


def log_shortfall(distortion: Tensor, goal: float, *, floor: float = 1e-3) -> Tensor:
    """The negative logarithm of the distortions [B] up to ``goal``.

    Its gradient weighs pictures, edits and models by inverse vulnerability (as ID-Guard's and SFGAN's losses do), and
    what is broken beyond ``goal`` no longer pays. Distortions far below ``floor`` weigh no more than those at it.
    """
    return -(distortion.clamp(max=goal) + floor).log().mean()


def visibility(
    delta: Tensor, goal: float, *, sensitivity: Tensor | None = None, axes: tuple[float, ...] = (1.0, 1.0, 1.0)
) -> Tensor:
    """How far the root mean square of each perturbation [B, 3, H, W] exceeds ``goal`` (on the [-1, 1] scale).

    Args:
        sensitivity: [B, 1, H, W], what a change counts for at each pixel (`sensitivity`); the same everywhere if None.
        axes: what a change counts for along each axis of `opponent`.
    """
    weighted = opponent(delta) * _weights(axes, delta.device)[:, None, None]
    if sensitivity is not None:
        weighted = weighted * sensitivity
    rms = torch.sqrt(weighted.square().flatten(1).mean(1) + 1e-12)
    return F.relu(rms - goal).mean()


def contrast(x: Tensor, delta: Tensor) -> Tensor:
    """Root mean square, for each picture [B], of the blue-yellow change relative to the surrounding light.

    Weber contrast, on linear light (IEC 61966-2-1): a change of one level is easier to see in dark areas. That is what
    ColorVideoVDP sees of the generator's stripes, and what FLIP, which weighs dark colours less, does not.

    Args:
        x: [B, 3, H, W] in [-1, 1].
        delta: its perturbation, same shape.
    """
    light, changed = linear(x), linear(x + delta)
    around = F.avg_pool2d(_luminance(light), 9, 1, 4, count_include_pad=False)
    change = changed - light
    blue = change[:, 2:] - _luminance(change)
    return ((blue / (around + _AMBIENT)).square().flatten(1).mean(1) + 1e-12).sqrt()


def _luminance(light: Tensor) -> Tensor:
    return (light * _weights(_REC_709, light.device)[:, None, None]).sum(1, keepdim=True)


def opponent(delta: Tensor) -> Tensor:
    """Luma (ITU-R BT.601, scaled), blue against yellow, red against green: an orthonormal change of basis of
    [B, 3, H, W], which keeps the root mean square. The two axes of colour have no luma."""
    return torch.einsum("oc,bchw->bohw", _basis(delta.device), delta)


@functools.cache
def _basis(device: torch.device) -> Tensor:
    luma = F.normalize(torch.tensor([0.299, 0.587, 0.114]), dim=0)
    blue = F.normalize(torch.tensor([0.0, 0.0, 1.0]) - luma[2] * luma, dim=0)  # what is left of blue without its luma
    return torch.stack([luma, blue, torch.linalg.cross(luma, blue)]).to(device)


@functools.cache
def _weights(axes: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(axes, device=device)


def sensitivity(x: Tensor, *, floor: float = 0.08, side: int = 9) -> Tensor:
    """How well an eye sees a change at each pixel of ``x`` [B, 3, H, W] in [-1, 1]: [B, 1, H, W], mean square 1.

    Contrast masking (Legge & Foley 1980) in its simplest form: the inverse of ``floor`` plus the standard deviation of
    the brightness over ``side`` x ``side`` pixels; smooth skin counts for more than hair and edges.
    """
    grey = x.mean(1, keepdim=True)
    near: dict[str, int | bool] = {"kernel_size": side, "stride": 1, "padding": side // 2, "count_include_pad": False}
    mean, square = (F.avg_pool2d(power, **near) for power in (grey, grey.square()))  # type: ignore[arg-type]
    seen = 1 / (floor + (square - mean.square()).clamp(min=0).sqrt())
    return seen / seen.square().mean((1, 2, 3), keepdim=True).sqrt()


def rms_of_psnr(psnr: float) -> float:
    """The root mean square on the [-1, 1] scale of an error of ``psnr`` dB."""
    return float(2 * 10 ** (-psnr / 20))
