"""Gradient steps of a fixed length along the sign, projected to the bound: a picture at a time, or for all of them.

`FGSM`, `IFGSM` and `PGD` are those of Ruiz, Bargal & Sclaroff, "Disrupting Deepfakes" (ECCV workshops 2020).
`universal` is the basic perturbation adv_i of DADFI (Eq. 5, 6, 11, 12): the paper calls it universal and accumulates it
over iterations; what it leaves open is taken from CMUA (Huang et al., AAAI 2022): one watermark a model, the signs of
the pictures' gradients averaged over the batch. `per_image` is the other reading of those equations: one for each
picture, anew for each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from dadfi_fast.attacks.aimed import AimedAttack, project, uniform, unit
from dadfi_fast.attacks.oracle import Asked, Question, turn
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget

Fake = Callable[[Tensor], Tensor]
#: Where FGSM and I-FGSM begin: at the picture itself both fakes are equal and there is no gradient. CMUA's release of
#: the three methods begins as far away.
NUDGE = 0.001


class PGD(AimedAttack):
    """Steps along the sign of the gradient from a random start, anew for each picture.

    Theirs: the steps, their number and length, and, for models that are asked for several edits, going round them or
    taking all at once (their sections on conditional models). Ours: several models at once, their gradients normalised
    (`unit`) and summed; the masked distance in place of that over the whole picture.

    Args:
        steps: gradient steps.
        step: length of a step on the [-1, 1] scale.
        start: bound of the random start; that of the budget where None.
        edits: how many edits of each model a step looks at, going round; all where None.
    """

    def __init__(
        self, targets: Sequence[Target], budget: Budget, *, steps: int = 10, step: float = 0.01,
        start: float | None = None, edits: int | None = None, loss: str = "masked", seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(targets, budget, loss=loss, seed=seed)
        self.steps, self.step, self.edits = steps, step, edits
        self.start = budget.eps if start is None else start

    def perturb(self, x: Tensor, asked: Asked) -> Tensor:
        eps = self.budget.eps
        delta = project(x, uniform(x, self.start, self.rng), eps)
        for number in range(self.steps):
            slopes = [unit(self.slope(question, x + delta)) for question in turn(asked, number, self.edits)]
            delta = project(x, delta + self.step * torch.stack(slopes).sum(0).sign(), eps)
        return delta

    def slope(self, question: Question, pictures: Tensor) -> Tensor:
        """The gradient of the distance for ``pictures``; same shape."""
        return self.oracle.gradient(question, pictures, loss=self.loss)


class FGSM(PGD):
    """One step to the bound (Goodfellow et al. 2015), looking at all edits."""

    def __init__(self, targets: Sequence[Target], budget: Budget, *, loss: str = "masked", seed: int = 0) -> None:
        super().__init__(targets, budget, steps=1, step=budget.eps + NUDGE, start=NUDGE, loss=loss, seed=seed)


class IFGSM(PGD):
    """`PGD` without its random start (Kurakin et al. 2017); the arguments are the same."""

    def __init__(
        self, targets: Sequence[Target], budget: Budget, *, steps: int = 10, step: float = 0.01,
        edits: int | None = None, loss: str = "masked", seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(targets, budget, steps=steps, step=step, start=NUDGE, edits=edits, loss=loss, seed=seed)


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
            mark = (eps * (2 * torch.rand(x.shape[1:], generator=rng) - 1)).to(x.device)
            direction = torch.zeros_like(mark)
        with torch.no_grad():
            clean = fake(x)
        for _ in range(steps):
            direction = momentum * direction + _signs(x, mark, fake, clean).mean(0)
            mark = (mark + step * direction.sign()).clamp(-eps, eps)
    if mark is None:
        raise ValueError("cannot make a universal perturbation: at least one batch of images is needed")
    return mark


def per_image(
    x: Tensor,
    fake: Fake,
    *,
    eps: float = 0.05,
    steps: int = 10,
    step: float = 0.01,
    momentum: float = 0.5,
    rng: torch.Generator,
) -> Tensor:
    """A perturbation of each picture ``x`` [B, 3, S, S] in [-1, 1] that moves the model's output on it.

    The arguments are those of `universal`; the result is [B, 3, S, S] within [-eps, eps].
    """
    with torch.no_grad():
        clean = fake(x)
    delta = (eps * (2 * torch.rand(x.shape, generator=rng) - 1)).to(x.device)
    direction = torch.zeros_like(delta)
    for _ in range(steps):
        direction = momentum * direction + _signs(x, delta, fake, clean)
        delta = (delta + step * direction.sign()).clamp(-eps, eps)
    return delta


def _signs(x: Tensor, delta: Tensor, fake: Fake, clean: Tensor) -> Tensor:
    """The signs of the gradients of each picture's distance, [B, 3, S, S]."""
    moved = (x + delta).clamp(-1, 1).requires_grad_()
    distance = (fake(moved) - clean).square().flatten(1).mean(1).sum()
    (gradient,) = torch.autograd.grad(distance, moved)
    return gradient.sign()
