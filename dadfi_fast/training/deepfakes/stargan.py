"""Training a StarGAN with its published losses (Choi et al. 2018, section 3): WGAN-GP, classification, cycle."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dadfi_fast.deepfakes import stargan
from dadfi_fast.deepfakes.edits import ATTRIBUTES, Targets
from dadfi_fast.training.deepfakes.trainer import summed_entropy
from dadfi_fast.training.deepfakes.wgan import WganConfig, WganTrainer


@dataclass(frozen=True)
class StarGANConfig(WganConfig):
    """Sizes and weights of a StarGAN training run; the defaults are the official ones but for size, width, n_critic."""

    conv_dim: int = 32
    critic_dim: int = 32
    critic_layers: int = 5


class StarGANTrainer(WganTrainer):
    """See `dadfi_fast.training.deepfakes.wgan`; the reconstruction is the cycle back to the picture's own labels."""

    config: StarGANConfig

    def networks(self) -> tuple[nn.Module, nn.Module]:
        config, c_dim = self.config, len(ATTRIBUTES)
        critic = stargan.Discriminator(config.image_size, config.critic_dim, c_dim, config.critic_layers)
        return stargan.Generator(config.conv_dim, c_dim), critic

    @property
    def rule(self) -> Targets:
        return Targets(ATTRIBUTES)

    def fake(self, x: Tensor, labels: Tensor, target: Tensor) -> Tensor:
        out: Tensor = self.generator(x, target)
        return out

    def fake_and_back(self, x: Tensor, labels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        fake = self.generator(x, target)
        return fake, self.generator(fake, labels)

    def classification(self, logits: Tensor, labels: Tensor) -> Tensor:
        return summed_entropy(logits, labels)
