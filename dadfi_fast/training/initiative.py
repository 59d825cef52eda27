"""A generator that never differentiates the deepfake models: surrogates learn to answer like them while it learns.

After "Initiative Defense against Facial Manipulation" (Huang et al., AAAI 2021). Theirs: a surrogate model, a generator
of perturbations that works against it, and the two trained in turn, a step each. Simplified: their surrogate is a
StarGAN that learns with its own discriminator from labelled pictures, ours imitates the model's answers, which takes a
network and a loss less and works for every family; their generator also works against the surrogate of the step
before. The network that perturbs, its losses and its optimiser are those of the recipe.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.stargan import Generator
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.training import distributed
from dadfi_fast.training.config import TrainConfig
from dadfi_fast.training.data import Faces
from dadfi_fast.training.device import placed
from dadfi_fast.training.loop import Losses
from dadfi_fast.training.trainer import DadfiTrainer


class InitiativeTrainer(DadfiTrainer):
    """`DadfiTrainer` against surrogates of ``targets``; the targets are only called.

    Reports and validation are about the targets themselves. The other arguments are those of `DadfiTrainer`.

    Args:
        width: channels after a surrogate's first convolution.
        blocks: its residual blocks.
        rate: its learning rate.
    """

    def __init__(
        self, config: TrainConfig, faces: Faces, targets: list[Target], *, validation: Faces | None = None,
        width: int = 16, blocks: int = 3, rate: float = 5e-4,
    ) -> None:  # fmt: skip
        torch.manual_seed(config.seed)
        surrogates = [_surrogate(target, width, blocks) for target in targets]
        super().__init__(config, faces, surrogates, validation=validation)
        self.imitated, self.surrogates = targets, surrogates
        for target in targets:
            placed(target.model, self.device)
        weights = [weight for surrogate in surrogates for weight in surrogate.model.parameters()]
        self.s_opt = torch.optim.Adam(weights, rate)

    def step(self, number: int, rng: torch.Generator) -> Losses:
        imitation = self._imitate(number % len(self.imitated), rng)
        return super().step(number, rng) | {"imitation": imitation}

    def state(self) -> dict[str, Any]:
        models = [surrogate.model.state_dict() for surrogate in self.surrogates]
        return super().state() | {"surrogates": models, "s_opt": self.s_opt.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        for surrogate, weights in zip(self.surrogates, state["surrogates"], strict=True):
            surrogate.model.load_state_dict(weights)
        self.s_opt.load_state_dict(state["s_opt"])

    def report(self, folder: Path, number: int) -> None:
        self.targets = self.imitated
        try:
            super().report(folder, number)
        finally:
            self.targets = self.surrogates

    def _imitate(self, number: int, rng: torch.Generator) -> Tensor:
        """One step of surrogate ``number`` towards its model's answers; their mean absolute distance before it."""
        target, surrogate = self.imitated[number], self.surrogates[number]
        x, labels = self._draw(rng)
        edit = self._one_edit_each(target, labels, rng)
        with torch.no_grad():
            answer = self._fake(target, x, edit)
        surrogate.model.requires_grad_(True)
        loss = F.l1_loss(self._fake(surrogate, x, edit), answer)
        self.s_opt.zero_grad(set_to_none=True)
        loss.backward()
        distributed.average_gradients(surrogate.model.parameters())
        self.s_opt.step()
        surrogate.model.requires_grad_(False)  # what the perturbation's gradient passes through
        return loss.detach()


def _surrogate(target: Target, width: int, blocks: int) -> Target:
    """A small StarGAN in the place of ``target``: planes of its edit, whatever the family takes, beside the picture."""
    network = Generator(conv_dim=width, c_dim=target.rule.size, repeat_num=blocks)
    return replace(target, model=Editor(network, target.model.image_size))
