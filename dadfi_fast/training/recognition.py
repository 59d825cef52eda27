"""The recognizers in a step (Eq. 3, 7, 14): they learn from a batch, then say how well the generator fools them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dadfi_fast.models.recognizer import Recognizer
from dadfi_fast.training import distributed, losses


@dataclass(frozen=True)
class Pair:
    """Pictures that a recognizer is to tell apart."""

    weight: float  # of the generator's term
    name: str  # of the terms
    judge: Recognizer
    real: Tensor  # [B, 3, S, S] in [-1, 1]
    fake: Tensor  # [B, 3, S, S] in [-1, 1]; what the generator's gradient comes through


def recognize(
    pairs: Sequence[Pair], optimizer: torch.optim.Optimizer, *, half: Callable[[], torch.autocast]
) -> dict[str, Tensor]:
    """Update the recognizers of all ``pairs``, then the generator's terms against them.

    Args:
        optimizer: of the recognizers.
        half: the arithmetic of their forward passes.

    Returns:
        ``loss_NAME``, the generator's terms, and ``d_NAME``, the recognizers' losses for the log. Pairs of one name are
        summed.
    """
    if not pairs:
        return {}
    with half():
        judged = [losses.recognizer_loss(pair.judge(pair.real), pair.judge(pair.fake.detach())) for pair in pairs]
    optimizer.zero_grad(set_to_none=True)
    torch.stack(judged).sum().backward()
    distributed.average_gradients(p for group in optimizer.param_groups for p in group["params"])
    optimizer.step()
    terms: dict[str, Tensor] = {}
    for pair, loss in zip(pairs, judged, strict=True):
        pair.judge.requires_grad_(False)
        with half():
            fooling = pair.weight * losses.fooling_loss(pair.judge(pair.fake))
        pair.judge.requires_grad_(True)
        for key, value in ((f"loss_{pair.name}", fooling), (f"d_{pair.name}", loss.detach())):
            terms[key] = terms[key] + value if key in terms else value
    return terms
