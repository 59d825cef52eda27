"""ATS-O2A-style search (after Li, Li, Feng, Wang & Pan, Computers & Security 2023): a step only where it pays."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dadfi_fast.attacks.aimed import AimedAttack, project, uniform, unit
from dadfi_fast.attacks.oracle import Asked, Question, turn
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.types import Budget


class AtsO2A(AimedAttack):
    """Chooses from the state of every model and edit whether and where the next gradient step is spent.

    Of the source only the citation could be had: a strategy that chooses by the state when and where to act. All else
    is ours. The state of a picture is its distance for every model and edit, asked for anew
    before each step; what the last steps gained there predicts the next one. A gradient is taken only for models and
    edits that are not broken yet and whose predicted gain is above ``tau``; a picture for which there are none is left
    as it is.

    Args:
        steps: gradient steps, at most.
        step: length of a step on the [-1, 1] scale.
        tau: the gain in distance for which a step is worth its cost.
        memory: share of the former prediction that is kept when a gain has been seen.
    """

    def __init__(
        self, targets: Sequence[Target], budget: Budget, *, steps: int = 20, step: float = 0.01, tau: float = 5e-4,
        memory: float = 0.5, loss: str = "masked", seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(targets, budget, loss=loss, seed=seed)
        self.steps, self.step, self.tau, self.memory = steps, step, tau, memory

    def perturb(self, x: Tensor, asked: Asked) -> Tensor:
        eps, questions = self.budget.eps, turn(asked, 0)
        askable = torch.stack([question.counts() for question in questions])  # [Q, B]
        delta = project(x, uniform(x, eps, self.rng), eps)
        state = self._state(questions, x + delta, askable.any(0))
        gain = torch.full_like(state, torch.inf)  # what has not been tried may gain anything
        for _ in range(self.steps):
            where = askable & (state <= SUCCESS) & (gain > self.tau)
            going = where.any(0)
            if not going.any():
                break
            delta = project(x, delta + self.step * self._slope(questions, x + delta, where).sign(), eps)
            now = torch.where(going, self._state(questions, x + delta, going), state)
            seen = torch.where(gain.isinf(), now - state, self.memory * gain + (1 - self.memory) * (now - state))
            gain, state = torch.where(going, seen, gain), now
        return delta

    def _state(self, questions: list[Question], pictures: Tensor, which: Tensor) -> Tensor:
        """The distance [Q, B] of the pictures ``which`` [B]; 0 for the others."""
        index = which.nonzero().flatten()
        state = torch.zeros(len(questions), len(pictures)).to(pictures)
        for row, question in zip(state, questions, strict=True):
            row[index] = self.oracle.distance(question.of(index), pictures[index])
        return state

    def _slope(self, questions: list[Question], pictures: Tensor, where: Tensor) -> Tensor:
        """The sum of the normalised gradients of the questions and pictures ``where`` [Q, B] says."""
        total = torch.zeros_like(pictures)
        for question, chosen in zip(questions, where, strict=True):
            index = chosen.nonzero().flatten()
            if len(index):
                total[index] += unit(self.oracle.gradient(question.of(index), pictures[index], loss=self.loss))
        return total
