"""The frame of attacks that ask deepfake models: numpy at the door, torch inside, every call counted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from dadfi_fast.attacks.base import Attack
from dadfi_fast.attacks.distortion import DISTORTIONS
from dadfi_fast.attacks.oracle import Asked, Oracle
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget, Float32


class AimedAttack(Attack):
    """Works against ``targets``; `aim` must be told the pictures' labels before each call.

    Every method gets one perturbation a picture for all models and all edits: nobody knows beforehand which of them
    will be asked for. (Several of the sources perturb anew for each edit.)

    Args:
        loss: which of `DISTORTIONS` is maximised. ``masked`` is what success is measured by; most sources take
            ``pixel``.
        seed: of everything that is drawn.

    Raises:
        UsageError: there is no such distortion.
    """

    def __init__(self, targets: Sequence[Target], budget: Budget, *, loss: str = "masked", seed: int = 0) -> None:
        super().__init__(budget)
        self.oracle, self.loss = Oracle(targets, self.calls), DISTORTIONS[loss]
        self.rng = torch.Generator().manual_seed(seed)
        self._labels: Tensor | None = None

    def aim(self, labels: Float32) -> Attack:
        self._labels = torch.tensor(labels, dtype=torch.float32)
        return self

    @abstractmethod
    def perturb(self, x: Tensor, asked: Asked) -> Tensor:
        """The perturbation for ``x`` [B, 3, H, W] against what is asked; same shape, about within the budget."""

    @final
    def run(self, crops: Float32) -> Float32:
        labels = self._labels
        assert labels is not None and len(labels) == len(crops), "aim(labels) at these pictures first"
        x = torch.tensor(crops, device=self.oracle.device)
        delta: Float32 = self.perturb(x, self.oracle.questions(x, labels)).detach().cpu().numpy()
        return delta


def uniform(like: Tensor, bound: float, rng: torch.Generator) -> Tensor:
    """Noise in [-bound, bound] of the shape of ``like`` and on its device."""
    return (bound * (2 * torch.rand(like.shape, generator=rng) - 1)).to(like)


def project(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """``delta`` within [-eps, eps], and such that x + delta is a picture, in [-1, 1]."""
    return (x + delta.clamp(-eps, eps)).clamp(-1, 1) - x


def unit(gradient: Tensor) -> Tensor:
    """Each picture's gradient over its mean absolute value (Dong et al. 2018), 0 where it is 0.

    So models and edits weigh alike in a sum, however easily each of them is disturbed.
    """
    return gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-20)
