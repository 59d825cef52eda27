"""The query-based gradient: a deepfake model that is called and never differentiated.

The paper "estimates the gradient by querying" without saying how; here it is natural evolution strategies with
antithetic directions (Ilyas et al. 2018, arXiv 1804.08598, section 2.1), applied to the product of the model's Jacobian
with the gradient that comes from behind it, so that everything around the model stays exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: What maps pictures [B, 3, H, W] to a model's answers, [B, ...].
Model = Callable[[Tensor], Tensor]


def query_gradient(model: Model, pictures: Tensor, *, directions: int, sigma: float, rng: torch.Generator) -> Tensor:
    """``model(pictures)``, whose gradient for ``pictures`` is estimated from ``2 * directions`` further calls.

    Args:
        pictures: [B, 3, H, W] in [-1, 1].
        directions: random directions, each tried both ways.
        sigma: length of a try, root mean square on the [-1, 1] scale.
        rng: where the directions are drawn from.
    """
    seed = int(torch.randint(2**31, (), generator=rng))
    out: Tensor = _QueryGradient.apply(pictures, model, directions, sigma, seed)  # type: ignore[no-untyped-call]
    return out


class _QueryGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pictures: Tensor, model: Model, directions: int, sigma: float, seed: int) -> Tensor:
        ctx.save_for_backward(pictures)
        ctx.settings = model, directions, sigma, seed
        return model(pictures.detach())

    @staticmethod
    def backward(ctx: Any, behind: Tensor) -> tuple[Tensor | None, ...]:
        (pictures,) = ctx.saved_tensors
        model, directions, sigma, seed = ctx.settings
        rng = torch.Generator().manual_seed(seed)
        gradient = torch.zeros_like(pictures)
        with torch.no_grad():
            for _ in range(directions):
                way = torch.randn(pictures.shape, generator=rng).to(pictures)
                change = model(pictures + sigma * way) - model(pictures - sigma * way)
                slope = (change.float() * behind).flatten(1).sum(1) / (2 * sigma)
                gradient += slope[:, None, None, None] * way
        return gradient / directions, None, None, None, None
