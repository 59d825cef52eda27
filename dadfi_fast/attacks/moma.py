"""MOMA (Sun, Yao, Jiang & Chen, arXiv 2208.06984): an attack put together of stages; `memetic` searches for the stages.

Theirs (it attacks classifiers that were trained to resist): an attack is a sequence of simpler ones, each with its
loss, magnitude and steps, found by a multi-objective memetic algorithm that weighs success against gradient
evaluations. Ours: the simple attacks and losses, which are those for image-to-image models, and success, which is
SR_mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor

from dadfi_fast.attacks.aimed import AimedAttack, project, uniform, unit
from dadfi_fast.attacks.distortion import DISTORTIONS
from dadfi_fast.attacks.oracle import Asked, turn
from dadfi_fast.attacks.pgd import NUDGE
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget

#: The simple attacks: I-FGSM, the same with momentum (MI-FGSM, Dong et al. 2018), and from a random start (PGD).
ATTACKERS: Final = ("i-fgsm", "mi-fgsm", "pgd")
LOSSES: Final = tuple(DISTORTIONS)
#: A stage may go to m / MAGNITUDES of the bound.
MAGNITUDES: Final = 8
#: The most steps of a stage; with none of them it is left out.
STEPS: Final = 8


@dataclass(frozen=True)
class MomaStage:
    """One simple attack, from where the stage before it ended."""

    attacker: str  # of `ATTACKERS`
    loss: str  # of `LOSSES`
    magnitude: int  # 1 to `MAGNITUDES`
    steps: int  # 0 to `STEPS`

    def __str__(self) -> str:
        return f"{self.attacker}({self.loss}, {self.magnitude}/{MAGNITUDES}, {self.steps})"


Genome: TypeAlias = tuple[MomaStage, MomaStage, MomaStage]


class Moma(AimedAttack):
    """The stages of ``genome`` one after the other.

    Args:
        genome: what `dadfi_fast.attacks.memetic.search` found.
        edits: how many edits of each model a step looks at, going round; all where None.
        momentum: share of the last direction that MI-FGSM keeps.
    """

    def __init__(
        self, targets: Sequence[Target], budget: Budget, genome: Genome, *, edits: int | None = 1,
        momentum: float = 1.0, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(targets, budget, seed=seed)
        self.genome, self.edits, self.momentum = genome, edits, momentum

    def perturb(self, x: Tensor, asked: Asked) -> Tensor:
        delta, done = torch.zeros_like(x), 0
        for stage in self.genome:
            if stage.steps:
                delta = self._run(stage, x, delta, asked, done)
                done += stage.steps
        return delta

    def _run(self, stage: MomaStage, x: Tensor, delta: Tensor, asked: Asked, done: int) -> Tensor:
        bound = self.budget.eps * stage.magnitude / MAGNITUDES
        start = bound if stage.attacker == "pgd" else NUDGE
        momentum = self.momentum if stage.attacker == "mi-fgsm" else 0.0
        # Twice the bound in all: enough to get from one side to the other.
        length = bound * min(1.0, 2 / stage.steps)
        delta, direction = project(x, delta + uniform(x, start, self.rng), bound), torch.zeros_like(x)
        for number in range(done, done + stage.steps):
            slopes = [
                unit(self.oracle.gradient(question, x + delta, loss=DISTORTIONS[stage.loss]))
                for question in turn(asked, number, self.edits)
            ]
            direction = momentum * direction + torch.stack(slopes).mean(0)
            delta = project(x, delta + length * direction.sign(), bound)
        return delta
