"""A wider generator that begins as the same function as a narrower one (Chen, Goodfellow & Shlens, "Net2Net", 2016)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dadfi_fast.models.generator import PRESETS

#: Where the input channels of a convolution's weights are; a transposed one has them first.
_INTO = {"up.0.conv.weight": 0, "up.1.conv.weight": 0}
#: What takes the picture in, and what puts the perturbation out, keep their three channels on that side.
_FIRST, _LAST = "down.0.conv.weight", ("up.2.weight", "up.2.bias")


def widen(weights: Mapping[str, Tensor], *, seed: int = 0) -> dict[str, Tensor]:
    """Weights of `Generator` with twice as many channels everywhere, for the same function.

    Every channel is there twice. What goes on from it is shared between the two at random, in shares that sum to one,
    so that the two learn different things although they begin alike.

    Args:
        weights: a state dict of `Generator`.
        seed: of the shares.
    """
    rng = torch.Generator().manual_seed(seed)
    return {name: _twice(name, weight, rng) for name, weight in weights.items()}


def doublings(narrow: str, wide: str) -> int | None:
    """How often preset ``narrow`` has to be widened to be ``wide``; None if it never is."""
    count, channels = 0, PRESETS[narrow]
    while channels < PRESETS[wide]:
        count, channels = count + 1, 2 * channels
    return count if channels == PRESETS[wide] else None


def _twice(name: str, weight: Tensor, rng: torch.Generator) -> Tensor:
    if weight.dim() == 1:  # of a norm, or the last layer's bias
        return weight if name in _LAST else torch.cat([weight, weight])
    into = _INTO.get(name, 1)
    if name not in _LAST:
        weight = torch.cat([weight, weight], dim=1 - into)
    if name == _FIRST:
        return weight
    share = torch.rand(weight.shape[:2], generator=rng)[:, :, None, None].to(weight)
    return torch.cat([share * weight, (1 - share) * weight], dim=into)
