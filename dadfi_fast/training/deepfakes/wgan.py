"""The Wasserstein critic with gradient penalty (Gulrajani et al. 2017) under which StarGAN and STGAN are trained.

One step = ``n_critic`` critic updates and one generator update. Ours, and in neither paper: an exponential moving
average of the generator, which is what is kept, and fewer critic steps to a generator step, because a CPU's time is
short.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dadfi_fast.training.data import Faces
from dadfi_fast.training.deepfakes.trainer import DeepfakeConfig, DeepfakeTrainer, averaged, descend
from dadfi_fast.training.loop import Losses


@dataclass(frozen=True)
class WganConfig(DeepfakeConfig):
    """Settings of a critic with gradient penalty."""

    n_critic: int = 2
    lr: float = 2e-4
    lambda_gp: float = 10.0
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
        for _ in range(self.config.n_critic):
            losses = self._critic_step(rng)
        return losses | self._generator_step(number, rng)

    def _draw(self, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A batch, its labels, and target labels: another picture's (as official)."""
        x, labels = self.draw(rng)
        return x, labels, labels[torch.randperm(len(x), generator=rng).to(labels.device)]

    def _critic_step(self, rng: torch.Generator) -> Losses:
        x, labels, target = self._draw(rng)
        with self.autocast():
            with torch.no_grad():
                fake = self.fake(x, labels, target).float()
            real_src, real_cls = self.critic(x)
            fake_src, _ = self.critic(fake)
            adversarial = fake_src.float().mean() - real_src.float().mean()
            classes = self.classification(real_cls, labels)
            alpha = torch.rand(len(x), 1, 1, 1, generator=rng).to(x.device)
            penalty = self._gradient_penalty((alpha * x + (1 - alpha) * fake).requires_grad_())
        descend(adversarial + classes + self.config.lambda_gp * penalty, self.d_opt)
        return {"d_adv": adversarial.item(), "d_cls": classes.item(), "d_gp": penalty.item()}

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
        self.average(number, self.mean, self.generator)
        return {"g_adv": adversarial.item(), "g_cls": cls.item(), "g_rec": reconstruction.item()}
