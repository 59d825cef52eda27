"""STGAN: the generator and discriminator of Liu et al., CVPR 2019 (arXiv 1904.09709).

The edit is the DIFFERENCE between target and source attributes, and selective transfer units between encoder and
decoder let through only what it changes. Pictures are [B, 3, S, S] float32 in [-1, 1], S a multiple of 2**layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from dadfi_fast.deepfakes.base import with_planes

#: The attributes of the official checkpoint, in its order.
ATTRIBUTES: Final = (
    "Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Bushy_Eyebrows", "Eyeglasses", "Male",
    "Mouth_Slightly_Open", "Mustache", "No_Beard", "Pale_Skin", "Young",
)  # fmt: skip
MAX_WIDTH: Final = 1024
#: Of the official batch norms (slim): epsilon, and 1 - decay.
EPS, MOMENTUM = 1e-3, 1e-3


class TransferUnit(nn.Module):
    """Selective transfer unit (Eq. 2 to 7 of the paper): a gated update of a skip connection by the state from below.

    Args:
        width: channels of the skip connection, of what comes out and of the state that is passed on.
        state_width: channels of the state that comes in, at half the size.
    """

    def __init__(self, width: int, state_width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(state_width, width, 4, 2, 1)
        self.reset = nn.Conv2d(2 * width, width, 3, 1, 1)
        self.update = nn.Conv2d(2 * width, width, 3, 1, 1)
        self.info = nn.Conv2d(2 * width, width, 3, 1, 1)

    def forward(self, skip: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``skip`` [B, C, H, W], ``state`` [B, D, H/2, W/2] -> the selected skip and the new state, both like skip."""
        state = self.up(state)
        both = torch.cat([skip, state], dim=1)
        passed = torch.sigmoid(self.reset(both)) * state
        update = torch.sigmoid(self.update(both))
        info = torch.tanh(self.info(torch.cat([skip, passed], dim=1)))
        return (1 - update) * state + update * info, passed


class Generator(nn.Module):
    """STGAN's generator: picture and attribute difference to edited picture.

    Args:
        dim: channels after the first convolution (official: 64).
        c_dim: number of attributes (official: 13).
        layers: stride-2 convolutions of the encoder, and of the decoder (official: 5).
        unit: makes the transfer unit of a level from (width, state_width).

    Batch norms use running averages in ``eval()``, as the official model does when it is not trained.
    """

    def __init__(
        self, dim: int = 64, c_dim: int = 13, layers: int = 5, unit: Callable[[int, int], nn.Module] = TransferUnit
    ) -> None:
        super().__init__()
        self.dim, self.c_dim, self.layers = dim, c_dim, layers
        widths = [min(dim * 2**i, MAX_WIDTH) for i in range(layers)]
        sources = [3, *widths[:-1]]
        self.encoder = nn.ModuleList(_down(a, b) for a, b in zip(sources, widths, strict=True))
        below = [*widths[1:]]
        self.units = nn.ModuleList(unit(a, b + c_dim) for a, b in zip(widths[:-1], below, strict=True))
        self.decoder = nn.ModuleList([_up(widths[-1] + c_dim, widths[-1])])
        for level in range(layers - 2, 0, -1):
            self.decoder.append(_up(widths[level + 1] + widths[level] + c_dim, widths[level]))
        self.last = nn.ConvTranspose2d(widths[1] + widths[0] + c_dim, 3, 4, 2, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Features of ``x`` [B, 3, S, S], the finest first: [B, dim * 2**i, S / 2**(i+1), ...]."""
        features = []
        for block in self.encoder:
            x = block(x)
            features.append(x)
        return features

    def decode(self, features: Sequence[Tensor], difference: Tensor) -> Tensor:
        """The picture [B, 3, S, S] from `encode`'s features, edited by ``difference`` [B, c_dim]."""
        chosen, state = list(features), features[-1]
        for level in range(self.layers - 2, -1, -1):
            chosen[level], state = self.units[level](features[level], with_planes(state, difference))
        x = with_planes(chosen[-1], difference)
        for block, skip in zip(self.decoder, chosen[-2::-1], strict=True):
            x = with_planes(torch.cat([block(x), skip], dim=1), difference)
        return torch.tanh(self.last(x))

    def forward(self, x: Tensor, difference: Tensor) -> Tensor:
        """Edit ``x`` [B, 3, S, S] in [-1, 1] by ``difference`` [B, c_dim] in [-1.5, 1.5]; same shape and range out.

        0 keeps an attribute, 1 adds it, -1 takes it away; the official test goes to 1.5 for what is asked for.
        """
        return self.decode(self.encode(x), difference)


class Discriminator(nn.Module):
    """Critic with an attribute classifier beside it, on shared convolutions (only training needs it).

    Args:
        image_size: side of the pictures, in pixels.
        dim, fc_dim, layers: official 64, 1024, 5.
    """

    def __init__(
        self, image_size: int = 128, dim: int = 64, c_dim: int = 13, layers: int = 5, fc_dim: int = 1024
    ) -> None:
        super().__init__()
        widths = [min(dim * 2**i, MAX_WIDTH) for i in range(layers)]
        blocks: list[nn.Module] = []
        for source, width in zip([3, *widths[:-1]], widths, strict=True):
            blocks += [nn.Conv2d(source, width, 4, 2, 1, bias=False)]
            blocks += [nn.InstanceNorm2d(width, eps=1e-6, affine=True), nn.LeakyReLU(0.2)]
        self.main = nn.Sequential(*blocks, nn.Flatten())
        flat = widths[-1] * (image_size // 2**layers) ** 2
        self.critic = nn.Sequential(nn.Linear(flat, fc_dim), nn.LeakyReLU(0.2), nn.Linear(fc_dim, 1))
        self.classifier = nn.Sequential(nn.Linear(flat, fc_dim), nn.LeakyReLU(0.2), nn.Linear(fc_dim, c_dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` [B, 3, S, S] -> realness [B, 1] (unbounded) and attribute logits [B, c_dim]."""
        h = self.main(x)
        return self.critic(h), self.classifier(h)


def load(state: Mapping[str, Tensor], make: Callable[..., Generator] = Generator) -> Generator:
    """A generator in evaluation mode from its own state dict; its sizes are read off the shapes.

    Args:
        state: weights and running statistics; ``num_batches_tracked`` may be missing.
        make: the class, or what makes another variant of it from the same arguments.
    """
    layers = sum(name.startswith("encoder.") and name.endswith(".0.weight") for name in state)
    dim, width = state["encoder.0.0.weight"].shape[0], state["decoder.0.0.weight"].shape[1]
    generator = make(dim, state["decoder.0.0.weight"].shape[0] - width, layers)
    counts = {name: value for name, value in generator.state_dict().items() if name.endswith(".num_batches_tracked")}
    generator.load_state_dict(counts | dict(state))
    return generator.eval()


def _down(source: int, width: int) -> nn.Sequential:
    conv = nn.Conv2d(source, width, 4, 2, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width, EPS, MOMENTUM), nn.LeakyReLU(0.2))


def _up(source: int, width: int) -> nn.Sequential:
    conv = nn.ConvTranspose2d(source, width, 4, 2, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width, EPS, MOMENTUM), nn.ReLU())
