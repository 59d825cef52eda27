"""The Wasserstein critic with gradient penalty (Gulrajani et al. 2017) under which StarGAN and STGAN are trained.

One step = ``n_critic`` critic updates and one generator update. Ours, and in neither paper: an exponential moving
average of the generator, which is what is kept, and, because a CPU's time is short, fewer critic updates to a generator
update. Two more savings are off by default; a card names them where they were used: the critic may look again at the
fakes of the last generator updates (``reuse_fakes``), and its gradient penalty may be lazy (``penalty_every``; Karras
et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 3.1).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dadfi_fast.training.data import Faces
from dadfi_fast.training.deepfakes.trainer import DeepfakeConfig, DeepfakeTrainer, averaged, descend
from dadfi_fast.training.loop import Losses


@dataclass(frozen=True)
class WganConfig(DeepfakeConfig):
    """Settings of a critic with gradient penalty."""

    n_critic: int = 2
    warm_up: int = 0  # steps without a generator update, for a new critic beside a generator that was trained before
    lr: float = 2e-4
    lambda_gp: float = 10.0
    penalty_every: int = 1  # critic updates to one gradient penalty, which then counts that many times
    reuse_fakes: bool = False  # whether the critic sees the fakes of the last generator updates instead of fresh ones
    lambda_cls: float = 1.0  # classification, in the generator's loss
    lambda_rec: float = 10.0


class WganTrainer(DeepfakeTrainer):
    """A generator and its critic, which also tells the attributes.

    A subclass makes both networks and fills in the losses that its family does not share.
    """

    parts = ("generator", "critic", "mean", "g_opt", "d_opt")
    config: WganConfig
    generator: nn.Module

    def __init__(self, config: WganConfig, faces: Faces) -> None:
        super().__init__(config, faces)
        self.generator, self.critic = (network.to(self.device) for network in self.networks())
        self.mean = averaged(self.generator)
        self.g_opt = self.optimizer(self.generator, config.lr, betas=(0.5, 0.999))
        self.d_opt = self.optimizer(self.critic, config.lr, betas=(0.5, 0.999))
        self.recent: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=config.n_critic)  # pictures, labels, fakes

    def state(self) -> dict[str, Any]:
        return super().state() | {"recent": list(self.recent)}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        for batch in state.get("recent", ()):
            self.recent.append(tuple(tensor.to(self.device) for tensor in batch))

    @property
    def kept(self) -> nn.Module:
        return self.mean

    @abstractmethod
    def networks(self) -> tuple[nn.Module, nn.Module]:
        """The generator, and the critic that gives realness and attribute logits."""

    @abstractmethod
    def fake(self, x: Tensor, labels: Tensor, target: Tensor) -> Tensor:
        """Pictures ``x`` [B, 3, S, S] with ``labels`` [B, A] edited towards ``target`` [B, A]."""

    @abstractmethod
    def fake_and_back(self, x: Tensor, labels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """`fake`, and the family's reconstruction of ``x``."""

    @abstractmethod
    def classification(self, logits: Tensor, labels: Tensor) -> Tensor:
        """How far the critic's attributes ``logits`` [B, A] are from ``labels``."""

    def step(self, number: int, rng: torch.Generator) -> Losses:
        self.schedule(number, self.g_opt, self.d_opt)
        losses: Losses = {}
        for turn in range(self.config.n_critic):
            losses |= self._critic_step(number * self.config.n_critic + turn, rng)
        return losses | (self._generator_step(number, rng) if number >= self.config.warm_up else {})

    def _draw(self, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A batch, its labels, and target labels: another picture's (as official)."""
        x, labels = self.draw(rng)
        return x, labels, labels[torch.randperm(len(x), generator=rng).to(labels.device)]

    def _critic_step(self, number: int, rng: torch.Generator) -> Losses:
        """Critic update ``number`` of the whole training."""
        x, labels, fake = self._fakes(number, rng)
        with self.autocast():
            real_src, real_cls = self.critic(x)
            fake_src, _ = self.critic(fake)
            adversarial = fake_src.float().mean() - real_src.float().mean()
            classes = self.classification(real_cls, labels)
        loss, every = adversarial + classes, self.config.penalty_every
        losses = {"d_adv": adversarial, "d_cls": classes}
        if number % every == 0:
            alpha = torch.rand(len(x), 1, 1, 1, generator=rng).to(x.device)
            with self.autocast():
                penalty = self._gradient_penalty((alpha * x + (1 - alpha) * fake).requires_grad_())
            loss, losses["d_gp"] = loss + every * self.config.lambda_gp * penalty, penalty
        descend(loss, self.d_opt)
        return {name: value.item() for name, value in losses.items()}

    def _fakes(self, number: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, their labels and their fakes for critic update ``number``."""
        if self.config.reuse_fakes and len(self.recent) == self.config.n_critic:
            return self.recent[number % self.config.n_critic]
        x, labels, target = self._draw(rng)
        with torch.no_grad(), self.autocast():
            return x, labels, self.fake(x, labels, target).float()

    def _gradient_penalty(self, x: Tensor) -> Tensor:
        source, _ = self.critic(x)
        (gradient,) = torch.autograd.grad(source.float().sum(), x, create_graph=True)
        penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        return penalty

    def _generator_step(self, number: int, rng: torch.Generator) -> Losses:
        x, labels, target = self._draw(rng)
        self.critic.requires_grad_(False)
        with self.autocast():
            fake, back = self.fake_and_back(x, labels, target)
            source, classes = self.critic(fake)
            adversarial, cls = -source.float().mean(), self.classification(classes, target)
            reconstruction = (x - back.float()).abs().mean()
        descend(adversarial + self.config.lambda_cls * cls + self.config.lambda_rec * reconstruction, self.g_opt)
        self.critic.requires_grad_(True)
        if self.config.reuse_fakes:
            self.recent.append((x, labels, fake.detach().float()))
        self.average(number, self.mean, self.generator)
        return {"g_adv": adversarial.item(), "g_cls": cls.item(), "g_rec": reconstruction.item()}
