"""The terms of the objective (Eq. 10 and 14) and what is added to it. Every term is a mean over the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dadfi_fast.metrics.defence import CHANGED


def recognizer_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What a recognizer minimises (Eq. 3, 7): logits of the real side up, of the fake side down."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def fooling_loss(fake: Tensor) -> Tensor:
    """What the generator minimises against a recognizer: the non-saturating form, -log sigmoid(logits)."""
    return F.softplus(-fake).mean()


def hinge(delta: Tensor, lim: float) -> Tensor:
    """Eq. 4: max(0, ||delta||_inf - lim), the norm over each picture [B, 3, H, W]."""
    return F.relu(delta.abs().flatten(1).amax(1) - lim).mean()


def masked_distortion(clean: Tensor, moved: Tensor, source: Tensor) -> Tensor:
    """d_mask: the squared distance of two fakes where the clean edit changed the picture.

    Args:
        clean: y = mod(x), [B, 3, S, S] in [-1, 1].
        moved: y' = mod(x_adv), the same shape.
        source: x at the model's size, the same shape.

    Returns:
        [B]; 0 where the mask is empty.
    """
    mask = ((clean - source).abs().sum(1, keepdim=True) > CHANGED).to(clean.dtype)
    distance = ((moved - clean).square() * mask).flatten(1).sum(1)
    return distance / (3 * mask.flatten(1).sum(1)).clamp(min=1)


def shortfall(distortion: Tensor, goal: float) -> Tensor:
    """How far the roots of the distortions [B] stay below that of ``goal``; what is already broken adds nothing.

    Of the roots, because a distortion grows with the square of the perturbation: its own gradient vanishes where it is
    small, which is where something has to be learned.
    """
    return F.relu(goal**0.5 - torch.sqrt(distortion + 1e-6)).mean()


def visibility(delta: Tensor, goal: float) -> Tensor:
    """How far the root mean square of each perturbation [B, 3, H, W] exceeds ``goal`` (on the [-1, 1] scale)."""
    rms = torch.sqrt(delta.square().flatten(1).mean(1) + 1e-12)
    return F.relu(rms - goal).mean()


def rms_of_psnr(psnr: float) -> float:
    """The root mean square on the [-1, 1] scale of an error of ``psnr`` dB."""
    return float(2 * 10 ** (-psnr / 20))
