"""Steps along a gradient that is estimated from the models' answers, where nothing can be differentiated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dadfi_fast.attacks.oracle import Question
from dadfi_fast.attacks.pgd import PGD
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget


class NES(PGD):
    """`PGD` by queries only: natural evolution strategies with antithetic directions (Ilyas et al. 2018, section 2.1).

    Theirs: the estimate. Ours: what is asked, the distance of the fakes instead of a class's probability.

    Args:
        directions: random directions of a step, each tried both ways.
        sigma: length of a try, root mean square on the [-1, 1] scale.
    """

    def __init__(
        self, targets: Sequence[Target], budget: Budget, *, directions: int = 20, sigma: float = 0.01, steps: int = 10,
        step: float = 0.01, edits: int | None = 1, loss: str = "masked", seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(targets, budget, steps=steps, step=step, edits=edits, loss=loss, seed=seed)
        self.directions, self.sigma = directions, sigma

    def slope(self, question: Question, pictures: Tensor) -> Tensor:
        total = torch.zeros_like(pictures)
        for _ in range(self.directions):
            way = torch.randn(pictures.shape, generator=self.rng).to(pictures)
            there, back = (
                self.oracle.distance(question, pictures + sign * self.sigma * way, loss=self.loss) for sign in (1, -1)
            )
            total += (there - back)[:, None, None, None] * way
        return total / (2 * self.sigma * self.directions)
