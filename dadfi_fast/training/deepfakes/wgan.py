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
    # For a new critic beside a trained generator: first steps in which it only learns the attributes of photos, and
    # steps after those without a generator update.
    classify_first: int = 0
    warm_up: int = 0
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
        generator, critic = self.networks()
        self.generator, self.critic = self.placed(generator), self.placed(critic)
        self.mean = averaged(self.generator)
        self.compiled(self.generator)
        self.g_opt = self.optimizer(self.generator, config.lr, betas=(0.5, 0.999))
        self.d_opt = self.optimizer(self.critic, config.lr, betas=(0.5, 0.999))
        self.recent: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=config.n_critic)  # pictures, labels, fakes
        self.begun: int | None = None  # the step that the critic began with

    def state(self) -> dict[str, Any]:
        return super().state() | {"recent": list(self.recent), "begun": self.begun}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.begun = state.get("begun", 0)
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
        self.begun = number if self.begun is None else self.begun
        age, alone = number - self.begun, self.config.classify_first
        if age < alone:
            return self.graphs(self._classify, *self.draw(rng))
        losses: Losses = {}
        for turn in range(self.config.n_critic):
            losses |= self._critic_step(number * self.config.n_critic + turn, rng)
        return losses if age < alone + self.config.warm_up else losses | self._generator_step(number, rng)

    def _draw(self, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A batch, its labels, and target labels: another picture's (as official)."""
        x, labels = self.draw(rng)
        return x, labels, labels[self.sent(torch.randperm(len(x), generator=rng))]

    def _classify(self, x: Tensor, labels: Tensor) -> Losses:
        """Update the critic by its classification of photos alone."""
        with self.autocast():
            classes = self.classification(self.critic(x)[1], labels)
        descend(classes, self.d_opt)
        return {"d_cls": classes.detach()}

    def _critic_step(self, number: int, rng: torch.Generator) -> Losses:
        """Critic update ``number`` of the whole training."""
        again = self.config.reuse_fakes and len(self.recent) == self.config.n_critic
        seen = self.recent[number % self.config.n_critic] if again else self._draw(rng)
        lazy = number % self.config.penalty_every != 0
        alpha = () if lazy else (self.sent(torch.rand(len(seen[0]), 1, 1, 1, generator=rng)),)
        return self.graphs(self._criticize if again else self._fake_and_criticize, *seen, *alpha)

    def _fake_and_criticize(self, x: Tensor, labels: Tensor, target: Tensor, alpha: Tensor | None = None) -> Losses:
        with torch.no_grad(), self.autocast():
            fake = self.fake(x, labels, target).float()
        return self._criticize(x, labels, fake, alpha)

    def _criticize(self, x: Tensor, labels: Tensor, fake: Tensor, alpha: Tensor | None = None) -> Losses:
        """Update the critic; where ``alpha`` is given, with the gradient penalty at that mix of ``x`` and ``fake``."""
        with self.autocast():
            real_src, real_cls = self.critic(x)
            fake_src, _ = self.critic(fake)
            adversarial = fake_src.float().mean() - real_src.float().mean()
            classes = self.classification(real_cls, labels)
        loss = adversarial + classes
        losses = {"d_adv": adversarial, "d_cls": classes}
        if alpha is not None:
            with self.autocast():
                penalty = self._gradient_penalty((alpha * x + (1 - alpha) * fake).requires_grad_())
            loss, losses["d_gp"] = loss + self.config.penalty_every * self.config.lambda_gp * penalty, penalty
        descend(loss, self.d_opt)
        return {name: value.detach() for name, value in losses.items()}

    def _gradient_penalty(self, x: Tensor) -> Tensor:
        source, _ = self.critic(x)
        (gradient,) = torch.autograd.grad(source.float().sum(), x, create_graph=True)
        penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        return penalty

    def _generator_step(self, number: int, rng: torch.Generator) -> Losses:
        x, labels, target = self._draw(rng)
        losses = self.graphs(self._generate, x, labels, target)
        fake = losses.pop("fake")
        if self.config.reuse_fakes:
            self.recent.append((x, labels, fake))
        self.average(number, self.mean, self.generator)
        return losses

    def _generate(self, x: Tensor, labels: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Update the generator; the losses, and the fakes that they are of."""
        self.critic.requires_grad_(False)
        with self.autocast():
            fake, back = self.fake_and_back(x, labels, target)
            source, classes = self.critic(fake)
            adversarial, cls = -source.float().mean(), self.classification(classes, target)
            reconstruction = (x - back.float()).abs().mean()
        descend(adversarial + self.config.lambda_cls * cls + self.config.lambda_rec * reconstruction, self.g_opt)
        self.critic.requires_grad_(True)
        results = {"g_adv": adversarial, "g_cls": cls, "g_rec": reconstruction, "fake": fake.float()}
        return {name: value.detach() for name, value in results.items()}
