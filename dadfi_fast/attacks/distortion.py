"""How far a perturbed picture's fake is from the clean one, differentiable: what attacks and training maximise.

Each takes y = mod(x), y' = mod(x_adv) and x at the model's size, all [B, 3, S, S] in [-1, 1], and gives one value a
picture, [B]. `dadfi_fast.metrics.defence` has the same in numpy for what was written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from dadfi_fast.deepfakes.encoders import BROKEN, ENCODERS
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.metrics.defence import CHANGED, SUCCESS
from dadfi_fast.registry import Registry

#: (y, y', x) -> [B]
Distortion: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]

#: The distortions that an attack may maximise, by name.
DISTORTIONS: Registry[Distortion] = Registry("distortion")


def edit_mask(clean: Tensor, source: Tensor) -> Tensor:
    """M: where the clean edit changed the picture, [B, 1, S, S] in {0, 1}."""
    return ((clean - source).abs().sum(1, keepdim=True) > CHANGED).to(clean.dtype)


@DISTORTIONS.add("masked")
def masked_distortion(clean: Tensor, moved: Tensor, source: Tensor) -> Tensor:
    """d_mask: the mean squared distance of two fakes where the clean edit changed the picture; 0 for an empty mask."""
    mask = edit_mask(clean, source)
    distance = ((moved - clean).square() * mask).flatten(1).sum(1)
    return distance / (3 * mask.flatten(1).sum(1)).clamp(min=1)


@DISTORTIONS.add("pixel")
def pixel_distortion(clean: Tensor, moved: Tensor, source: Tensor) -> Tensor:
    """d_pix: the mean squared distance of two fakes, which Ruiz et al. (2020) and Huang et al. (2022) maximise."""
    return (moved - clean).square().flatten(1).mean(1)


@DISTORTIONS.add("absolute")
def absolute_distortion(clean: Tensor, moved: Tensor, source: Tensor) -> Tensor:
    """The mean absolute distance of two fakes, which Huang et al. (2021) maximise."""
    return (moved - clean).abs().flatten(1).mean(1)


def code_distortion(clean: Tensor, moved: Tensor, source: Tensor) -> Tensor:
    """d_code of two outputs of an encoder, [B, D] each, scaled so that a code counts as broken from `SUCCESS` on."""
    distance = (moved - clean).square().sum(1) / clean.square().sum(1)
    return distance * (SUCCESS / BROKEN)


def distortion_of(target: Target) -> Distortion:
    """How far outputs of ``target`` are apart: d_mask, or scaled d_code for an encoder. Broken above `SUCCESS`."""
    return code_distortion if target.family in ENCODERS else masked_distortion
