"""Projected gradient descent on a deepfake model: the basic perturbation adv_i of DADFI (Eq. 5, 6, 11, 12).

The paper calls it universal and accumulates it over iterations; what it leaves open is taken from CMUA (Huang et al.,
AAAI 2022): one watermark a model, the signs of the pictures' gradients averaged over the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Fake = Callable[[Tensor], Tensor]


def universal(
    batches: Iterable[tuple[Tensor, Fake]],
    *,
    eps: float = 0.05,
    steps: int = 10,
    step: float = 0.01,
    momentum: float = 0.5,
    rng: torch.Generator,
) -> Tensor:
    """One watermark that moves the model's output on every picture.

    Each of ``steps`` ascends the mean squared distance between mod(x + w) and mod(x); then w is projected to
    ``[-eps, eps]`` and x + w to [-1, 1].

    Args:
        batches: pictures [B, 3, S, S] in [-1, 1], each with the model to call on them (its edit already chosen).
        eps: bound on the [-1, 1] scale.
        steps: gradient steps a batch.
        step: length of a step on the [-1, 1] scale.
        momentum: share of the last direction that is kept.
        rng: draws the start, uniform within the bound.

    Returns:
        [3, S, S] float32 within [-eps, eps].

    Raises:
        ValueError: there is no batch.
    """
    mark = direction = None
    for x, fake in batches:
        if mark is None or direction is None:
            mark = eps * (2 * torch.rand(x.shape[1:], generator=rng) - 1)
            direction = torch.zeros_like(mark)
        with torch.no_grad():
            clean = fake(x)
        for _ in range(steps):
            direction = momentum * direction + _ascent(x, mark, fake, clean)
            mark = (mark + step * direction.sign()).clamp(-eps, eps)
    if mark is None:
        raise ValueError("a universal watermark needs at least one batch of pictures")
    return mark


def _ascent(x: Tensor, mark: Tensor, fake: Fake, clean: Tensor) -> Tensor:
    """The batch's mean of the signs of the gradients with respect to each picture."""
    moved = (x + mark).clamp(-1, 1).requires_grad_()
    distance = (fake(moved) - clean).square().flatten(1).mean(1).sum()
    (gradient,) = torch.autograd.grad(distance, moved)
    return gradient.sign().mean(0)
