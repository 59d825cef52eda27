"""StarGAN: the generator and discriminator of Choi et al., CVPR 2018 (arXiv 1711.09020).

Layer order, and with it the names in a state dict (``main.N.weight``), is that of the official release, so its
checkpoints load unchanged (see `load_official`). Pictures are [B, 3, S, S] float32 in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """conv3 - IN - ReLU - conv3 - IN, added to the input; [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.main(x)
        return out


class Generator(nn.Module):
    """StarGAN's generator: picture and target labels to edited picture.

    Args:
        conv_dim: channels after the first convolution (official: 64).
        c_dim: number of attributes (official: 5).
        repeat_num: residual blocks (official: 6).

    Instance statistics are always those of the picture at hand: the official solver never calls ``eval()``, so the
    running statistics in its checkpoints are never used, and none are kept here.
    """

    def __init__(self, conv_dim: int = 64, c_dim: int = 5, repeat_num: int = 6) -> None:
        super().__init__()
        self.conv_dim, self.c_dim, self.repeat_num = conv_dim, c_dim, repeat_num
        layers: list[nn.Module] = [nn.Conv2d(3 + c_dim, conv_dim, 7, 1, 3, bias=False), *_norm_relu(conv_dim)]
        width = conv_dim
        for _ in range(2):
            layers += [nn.Conv2d(width, width * 2, 4, 2, 1, bias=False), *_norm_relu(width * 2)]
            width *= 2
        layers += [ResidualBlock(width) for _ in range(repeat_num)]
        for _ in range(2):
            layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False), *_norm_relu(width // 2)]
            width //= 2
        layers += [nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Edit ``x`` [B, 3, S, S] in [-1, 1] towards ``labels`` [B, c_dim] in {0, 1}; same shape and range out."""
        planes = labels[:, :, None, None].expand(-1, -1, x.shape[2], x.shape[3]).to(x.dtype)
        out: Tensor = self.main(torch.cat([x, planes], dim=1))
        return out


class Discriminator(nn.Module):
    """PatchGAN critic with an attribute classifier on top (only training needs it).

    Args:
        image_size: side of the pictures; halved ``repeat_num`` times.
        conv_dim: channels after the first convolution (official: 64).
        repeat_num: stride-2 convolutions (official: 6 at 128 px).
    """

    def __init__(self, image_size: int = 128, conv_dim: int = 64, c_dim: int = 5, repeat_num: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, conv_dim, 4, 2, 1), nn.LeakyReLU(0.01)]
        width = conv_dim
        for _ in range(1, repeat_num):
            layers += [nn.Conv2d(width, width * 2, 4, 2, 1), nn.LeakyReLU(0.01)]
            width *= 2
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(width, 1, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(width, c_dim, image_size // 2**repeat_num, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` [B, 3, S, S] -> realness [B, 1, h, w] (unbounded) and attribute logits [B, c_dim]."""
        h = self.main(x)
        return self.conv1(h), self.conv2(h).flatten(1)


class StarGAN(nn.Module):
    """The deepfake model as an adversary runs it: any square crop in, edited picture at ``image_size`` out."""

    def __init__(self, generator: Generator, image_size: int) -> None:
        super().__init__()
        self.generator, self.image_size = generator, image_size

    def resize(self, images: Tensor) -> Tensor:
        """The model's own antialiased, differentiable resize: [B, 3, H, W] -> [B, 3, image_size, image_size]."""
        if images.shape[-2:] == (self.image_size, self.image_size):
            return images
        size = (self.image_size, self.image_size)
        return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)

    def fake(self, images: Tensor, edit: Tensor) -> Tensor:
        """Edit ``images`` [B, 3, H, W] in [-1, 1] towards labels ``edit`` [B, c_dim]; [B, 3, S, S] in [-1, 1]."""
        out: Tensor = self.generator(self.resize(images), edit)
        return out

    forward = fake


def load_official(state: dict[str, Tensor]) -> Generator:
    """A generator from a state dict in the official form; its width, labels and depth are read off the shapes.

    Running statistics (``running_mean``, ``running_var``, ``num_batches_tracked``) are dropped: see `Generator`.
    """
    kept = {k: v for k, v in state.items() if not k.rpartition(".")[2].startswith(("running_", "num_batches"))}
    first = kept["main.0.weight"]
    blocks = sum(k.endswith(".main.0.weight") for k in kept)
    generator = Generator(conv_dim=first.shape[0], c_dim=first.shape[1] - 3, repeat_num=blocks)
    generator.load_state_dict(kept)
    return generator


def _norm_relu(width: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(width, affine=True), nn.ReLU(inplace=True)]
