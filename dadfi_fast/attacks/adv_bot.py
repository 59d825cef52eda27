"""Adv-Bot-style search (after Debicha et al., arXiv 2303.06664): groups of features, growing steps, queries only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from dadfi_fast.attacks.aimed import AimedAttack, project
from dadfi_fast.attacks.oracle import Asked, Question, turn
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.faces.align import MARGIN
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.types import Budget

#: The groups of features: coefficients u, v of an 8x8 block's cosine transform by u + v, first and last.
BANDS: Final = ((0, 1), (2, 3), (4, 6), (7, 14))
SIDE: Final = 8


class AdvBot(AimedAttack):
    """Moves one group of features at a time, further in every round, and keeps what the models' answers speak for.

    Theirs (it hides botnets from intrusion detectors; no pictures): only features that may change without spoiling what
    the sample is for are touched, in groups; the step grows from round to round; the result is projected to what is
    valid; the model is asked, never differentiated. Ours, all of it for pictures: the features are the 8x8 cosine
    coefficients inside the face, grouped in bands; a direction is a random sign for each coefficient, in all blocks
    alike, tried both ways (theirs points to the mean of the benign class, of which there is none here); the projection
    is to the budget and to [-1, 1]; no picture stops early, since it takes several models and edits to be safe.

    Args:
        rounds: rounds; the step of round r of R is r / R of the bound.
        margin: what is left alone at each edge of the crop, as a share of its side: crops are `MARGIN` times as wide as
            the face.
        edits: how many edits of each model a round asks for, going round; all where None.
    """

    def __init__(
        self, targets: Sequence[Target], budget: Budget, *, rounds: int = 20, margin: float = (1 - 1 / MARGIN) / 2,
        edits: int | None = 1, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(targets, budget, seed=seed)
        self.rounds, self.margin, self.edits = rounds, margin, edits

    def perturb(self, x: Tensor, asked: Asked) -> Tensor:
        eps, face = self.budget.eps, box(x, self.margin)
        delta = torch.zeros_like(x)
        for number in range(self.rounds):
            step, questions = eps * (number + 1) / self.rounds, turn(asked, number, self.edits)
            held = self._score(questions, x + delta)
            for index in torch.randperm(len(BANDS), generator=self.rng).tolist():
                way = step * face * pattern(x, BANDS[index], self.rng)
                for tried in (project(x, delta + way, eps), project(x, delta - way, eps)):
                    score = self._score(questions, x + tried)
                    delta = torch.where((score > held)[:, None, None, None], tried, delta)
                    held = torch.maximum(score, held)
        return delta

    def _score(self, questions: list[Question], pictures: Tensor) -> Tensor:
        """The mean distance, [B]; what is already broken twice over adds nothing."""
        distances = [self.oracle.distance(question, pictures) for question in questions]
        return torch.stack(distances).clamp(max=2 * SUCCESS).mean(0)


def box(like: Tensor, margin: float) -> Tensor:
    """1 inside the crop's inner square and 0 within ``margin`` (a share of the side) of its edges, [1, 1, H, W]."""
    inner = [round(side * margin) for side in like.shape[-2:]]
    mask = torch.zeros(1, 1, *like.shape[-2:]).to(like)
    mask[..., inner[0] : like.shape[-2] - inner[0], inner[1] : like.shape[-1] - inner[1]] = 1
    return mask


def pattern(like: Tensor, band: tuple[int, int], rng: torch.Generator) -> Tensor:
    """A random sign for every coefficient of ``band`` in every channel, the same in all blocks; pixels in [-1, 1]."""
    batch, channels, height, width = like.shape
    order = torch.arange(SIDE)[:, None] + torch.arange(SIDE)
    chosen = ((order >= band[0]) & (order <= band[1])).float()
    signs = torch.rand(batch, channels, SIDE, SIDE, generator=rng).sub(0.5).sign()
    block = cosines().T @ (signs * chosen) @ cosines()
    block = block / block.abs().amax((2, 3), keepdim=True)
    plane = block.repeat(1, 1, math.ceil(height / SIDE), math.ceil(width / SIDE))
    return plane[:, :, :height, :width].to(like)


def cosines() -> Tensor:
    """The orthonormal cosine transform (DCT-II) of eight values, [8, 8]: a row a frequency."""
    n = torch.arange(SIDE, dtype=torch.float32)
    matrix = torch.cos(math.pi * (2 * n + 1) * n[:, None] / (2 * SIDE)) / 2
    matrix[0] /= math.sqrt(2)
    return matrix
