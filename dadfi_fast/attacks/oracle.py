"""Deepfake models as attacks ask them: for answers or for gradients, both counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from dadfi_fast.attacks.base import Calls
from dadfi_fast.attacks.distortion import Distortion, edit_mask, masked_distortion
from dadfi_fast.deepfakes.torch_model import Target


@dataclass(frozen=True, eq=False)
class Question:
    """One edit asked of one model about a batch of pictures, with the answer that the clean ones get."""

    target: Target
    edit: Tensor  # [B, D]
    source: Tensor  # [B, 3, S, S] in [-1, 1], x at the model's size
    clean: Tensor  # [B, 3, S, S], y = mod(x)

    def of(self, index: Tensor) -> Question:
        """The question about the pictures ``index`` [b] only."""
        return Question(self.target, self.edit[index], self.source[index], self.clean[index])

    def counts(self) -> Tensor:
        """For which pictures the edit changes anything at all, [B]; the others can be neither broken nor kept."""
        return edit_mask(self.clean, self.source).flatten(1).any(1)


#: The questions about a batch: a list for each model, in it one for each edit.
Asked: TypeAlias = list[list[Question]]


class Oracle:
    """Asks the deepfake models ``targets`` and counts in ``calls``.

    Pictures are [B, 3, H, W] in [-1, 1]; the models resize them themselves. The targets take the same labels (see
    `dadfi_fast.deepfakes.torch_model.load_targets`).
    """

    def __init__(self, targets: Sequence[Target], calls: Calls) -> None:
        assert targets
        self.targets, self.calls = tuple(targets), calls

    @property
    def device(self) -> torch.device:
        """Where the models are, and pictures must be."""
        return next(self.targets[0].model.parameters()).device

    @torch.no_grad()
    def questions(self, x: Tensor, labels: Tensor) -> Asked:
        """Every model's every edit of the clean pictures ``x`` with ``labels`` [B, A]."""
        return [self._questions(target, x, labels) for target in self.targets]

    @torch.no_grad()
    def distance(self, question: Question, pictures: Tensor, *, loss: Distortion = masked_distortion) -> Tensor:
        """How far the fakes of ``pictures`` are from the clean ones, [B]; the model is only called."""
        self.calls.queries += len(pictures)
        return loss(question.clean, question.target.fake(pictures, question.edit), question.source)

    def gradient(self, question: Question, pictures: Tensor, *, loss: Distortion = masked_distortion) -> Tensor:
        """The gradient of the distance with respect to each of ``pictures``; same shape."""
        self.calls.gradients += len(pictures)
        moved = pictures.detach().requires_grad_()
        distance = loss(question.clean, question.target.fake(moved, question.edit), question.source)
        (gradient,) = torch.autograd.grad(distance.sum(), moved)
        return gradient

    def _questions(self, target: Target, x: Tensor, labels: Tensor) -> list[Question]:
        source = target.model.resize(x)
        edits = target.edits(labels).to(x.device)
        self.calls.queries += len(x) * len(edits)
        return [Question(target, edit, source, target.fake(x, edit)) for edit in edits]


def turn(asked: Asked, number: int, edits: int | None = None) -> list[Question]:
    """What step ``number`` asks: of each model ``edits`` edits, going round; all of them where None.

    The list goes round the models first, so that a few of its entries in a row still touch all of them.
    """
    most = max(map(len, asked))
    indices = range(most) if edits is None else range(number * edits, (number + 1) * edits)
    if edits is None:
        return [questions[index] for index in indices for questions in asked if index < len(questions)]
    return [questions[index % len(questions)] for index in indices for questions in asked]
