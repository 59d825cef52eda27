"""Training an STGAN with its published losses (Liu et al. 2019, section 3.3): WGAN-GP, attributes, reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dadfi_fast.deepfakes import stgan
from dadfi_fast.deepfakes.edits import ATTRIBUTES, Differences
from dadfi_fast.deepfakes.stgan_sac import AttentiveGenerator
from dadfi_fast.training.deepfakes.trainer import mean_entropy
from dadfi_fast.training.deepfakes.wgan import WganConfig, WganTrainer


@dataclass(frozen=True)
class STGANConfig(WganConfig):
    """Sizes and weights of an STGAN training run; weights are the published ones, sizes what a CPU can do."""

    dim: int = 24
    layers: int = 4
    critic_dim: int = 32
    critic_layers: int = 4
    critic_fc: int = 256
    lambda_cls: float = 10.0
    lambda_rec: float = 100.0
    norm_momentum: float = 0.01  # official: 0.001, which is slow for a run of some thousand steps


class STGANTrainer(WganTrainer):
    """See `dadfi_fast.training.deepfakes.wgan`; the reconstruction is the edit by no difference at all."""

    config: STGANConfig
    generator: stgan.Generator
    make: ClassVar[Callable[..., stgan.Generator]] = stgan.Generator

    def networks(self) -> tuple[nn.Module, nn.Module]:
        config, c_dim = self.config, len(ATTRIBUTES)
        generator = type(self).make(config.dim, c_dim, config.layers)
        for module in generator.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = config.norm_momentum
        sizes = (config.critic_dim, c_dim, config.critic_layers, config.critic_fc)
        return generator, stgan.Discriminator(config.image_size, *sizes)

    @property
    def rule(self) -> Differences:
        return Differences(ATTRIBUTES)

    def fake(self, x: Tensor, labels: Tensor, target: Tensor) -> Tensor:
        return self.generator.decode(self.generator.encode(x), target - labels)

    def fake_and_back(self, x: Tensor, labels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        features = self.generator.encode(x)
        nothing = torch.zeros_like(labels)
        return self.generator.decode(features, target - labels), self.generator.decode(features, nothing)

    def classification(self, logits: Tensor, labels: Tensor) -> Tensor:
        return mean_entropy(logits, labels)


class STGANSACTrainer(STGANTrainer):
    """An STGAN with attention in its transfer units (`dadfi_fast.deepfakes.stgan_sac`), trained in the same way."""

    make = AttentiveGenerator
