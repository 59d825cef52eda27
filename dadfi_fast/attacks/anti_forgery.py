"""Anti-Forgery (Wang et al., IJCAI 2022): a change of colour that is searched in Lab space, not of brightness."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dadfi_fast.attacks.aimed import AimedAttack, uniform, unit
from dadfi_fast.attacks.cielab import from_lab, to_lab
from dadfi_fast.attacks.oracle import Asked, turn
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget

#: a* and b* are divided by this, as in the release, before bounds and rates apply to them.
SCALE = 110.0


class AntiForgery(AimedAttack):
    """Adam on the channels a* and b*, anew for each picture, one edit of one model a step, going round.

    Theirs: the two channels, Adam (0.9, 0.999), 100 steps, the bound of 0.05 on the scaled channels, going round.
    Ours: several models; what it makes of the pixels is held within the budget, which theirs need not be; and the rate:
    with the published 0.0001, a hundred steps cannot go further than a fifth of their own bound. Adam gets normalised
    gradients (`unit`), so that no model outweighs another, and starts a little off the picture, where there is a
    gradient.

    Args:
        steps: Adam's steps.
        rate: their length on the scaled channels.
        bound: of the change of the scaled channels.
    """

    def __init__(
        self, targets: Sequence[Target], budget: Budget, *, steps: int = 100, rate: float = 0.001, bound: float = 0.05,
        loss: str = "masked", seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(targets, budget, loss=loss, seed=seed)
        self.steps, self.rate, self.bound = steps, rate, bound

    def perturb(self, x: Tensor, asked: Asked) -> Tensor:
        lab = to_lab((x + 1) / 2)
        colour = uniform(lab[:, 1:], self.rate, self.rng).requires_grad_()
        adam = torch.optim.Adam([colour], lr=self.rate, betas=(0.9, 0.999))
        questions = turn(asked, 0)
        for number in range(self.steps):
            moved = self._moved(x, lab, colour)
            slope = self.oracle.gradient(questions[number % len(questions)], moved.detach(), loss=self.loss)
            adam.zero_grad()
            moved.backward(-unit(slope))
            adam.step()
            with torch.no_grad():
                colour.clamp_(-self.bound, self.bound)
        with torch.no_grad():
            return self._moved(x, lab, colour) - x

    def _moved(self, x: Tensor, lab: Tensor, colour: Tensor) -> Tensor:
        """The picture with its colour changed, within the budget."""
        changed = 2 * from_lab(torch.cat([lab[:, :1], lab[:, 1:] + SCALE * colour], dim=1)) - 1
        return x + (changed - x).clamp(-self.budget.eps, self.budget.eps)
