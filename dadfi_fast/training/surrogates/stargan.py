"""Training a StarGAN with its published losses (Choi et al. 2018, section 3): WGAN-GP, classification, cycle.

Ours, and not in the paper: an exponential moving average of the generator, which is what is kept, and fewer critic
steps to a generator step (``n_critic``), because a CPU's time is short.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dadfi_fast.deepfakes import stargan
from dadfi_fast.deepfakes.edits import ATTRIBUTES, edits
from dadfi_fast.training.data import Faces
from dadfi_fast.training.loop import Losses
from dadfi_fast.training.sheet import save_sheet


@dataclass(frozen=True)
class StarGANConfig:
    """Sizes and weights of a StarGAN training run; the defaults are the official ones but for size and width."""

    image_size: int = 64
    conv_dim: int = 32
    critic_dim: int = 32
    critic_layers: int = 5
    batch: int = 16
    n_critic: int = 2
    lr: float = 2e-4
    lambda_cls: float = 1.0
    lambda_rec: float = 10.0
    lambda_gp: float = 10.0
    ema: float = 0.998
    steps: int = 6000
    decay_from: float = 0.6  # share of the steps after which the learning rate falls linearly to 0
    bf16: bool = True
    seed: int = 0


class StarGANTrainer:
    """One step = ``n_critic`` critic updates and one generator update; see `dadfi_fast.training.loop.Trainer`."""

    def __init__(self, config: StarGANConfig, faces: Faces) -> None:
        assert faces.labels is not None
        self.config, self.faces, self.labels = config, faces, faces.labels
        torch.manual_seed(config.seed)
        c_dim = len(ATTRIBUTES)
        self.generator = stargan.Generator(config.conv_dim, c_dim)
        self.critic = stargan.Discriminator(config.image_size, config.critic_dim, c_dim, config.critic_layers)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.g_opt = torch.optim.Adam(self.generator.parameters(), config.lr, betas=(0.5, 0.999))
        self.d_opt = torch.optim.Adam(self.critic.parameters(), config.lr, betas=(0.5, 0.999))

    def step(self, number: int, rng: torch.Generator) -> Losses:
        self._schedule(number)
        for _ in range(self.config.n_critic):
            losses = self._critic_step(rng)
        return losses | self._generator_step(number, rng)

    def state(self) -> dict[str, Any]:
        parts = ("generator", "critic", "average", "g_opt", "d_opt")
        return {p: getattr(self, p).state_dict() for p in parts} | {"config": asdict(self.config)}

    def load(self, state: dict[str, Any]) -> None:
        for part in ("generator", "critic", "average", "g_opt", "d_opt"):
            getattr(self, part).load_state_dict(state[part])

    @torch.no_grad()
    def report(self, folder: Path, number: int) -> None:
        index = torch.arange(8)
        x, labels = self.faces.batch(index), self.labels[index]
        fakes = [self.average(x, target) for target in torch.from_numpy(edits(labels.numpy()))]
        save_sheet(folder / f"sheet-{number:06d}.png", [x, *fakes])

    def _schedule(self, number: int) -> None:
        progress = number / self.config.steps
        rate = self.config.lr * min(1.0, (1.0 - progress) / (1.0 - self.config.decay_from))
        for optimizer in (self.g_opt, self.d_opt):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _draw(self, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A batch, its labels, and target labels: another picture's (as official)."""
        index = torch.randint(len(self.faces), (self.config.batch,), generator=rng)
        x = self.faces.batch(index)
        flip = torch.rand(len(index), 1, 1, 1, generator=rng) < 0.5
        x = torch.where(flip, x.flip(3), x)
        labels = self.labels[index]
        return x, labels, labels[torch.randperm(len(index), generator=rng)]

    def _critic_step(self, rng: torch.Generator) -> Losses:
        x, labels, target = self._draw(rng)
        with self._autocast():
            with torch.no_grad():
                fake = self.generator(x, target).float()
            real_src, real_cls = self.critic(x)
            fake_src, _ = self.critic(fake)
            adversarial = fake_src.float().mean() - real_src.float().mean()
            classes = _classification(real_cls, labels)
            alpha = torch.rand(len(x), 1, 1, 1, generator=rng)
            penalty = self._gradient_penalty((alpha * x + (1 - alpha) * fake).requires_grad_())
        loss = adversarial + self.config.lambda_cls * classes + self.config.lambda_gp * penalty
        self.d_opt.zero_grad(set_to_none=True)
        loss.backward()
        self.d_opt.step()
        return {"d_adv": adversarial.item(), "d_cls": classes.item(), "d_gp": penalty.item()}

    def _gradient_penalty(self, x: Tensor) -> Tensor:
        source, _ = self.critic(x)
        (gradient,) = torch.autograd.grad(source.float().sum(), x, create_graph=True)
        penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        return penalty

    def _generator_step(self, number: int, rng: torch.Generator) -> Losses:
        x, labels, target = self._draw(rng)
        self.critic.requires_grad_(False)
        with self._autocast():
            fake = self.generator(x, target)
            source, classes = self.critic(fake)
            back = self.generator(fake, labels)
            adversarial, cls = -source.float().mean(), _classification(classes, target)
            cycle = (x - back.float()).abs().mean()
        loss = adversarial + self.config.lambda_cls * cls + self.config.lambda_rec * cycle
        self.g_opt.zero_grad(set_to_none=True)
        loss.backward()
        self.g_opt.step()
        self.critic.requires_grad_(True)
        self._average(number)
        return {"g_adv": adversarial.item(), "g_cls": cls.item(), "g_rec": cycle.item()}

    @torch.no_grad()
    def _average(self, number: int) -> None:
        keep = min(self.config.ema, (1 + number) / (10 + number))
        pairs = zip(self.average.parameters(), self.generator.parameters(), strict=True)
        for mean, now in pairs:
            mean.lerp_(now, 1 - keep)

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16)


def _classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Official: binary cross-entropy summed over attributes, mean over the batch."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum") / len(labels)
