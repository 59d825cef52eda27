"""StarGAN: the generator and discriminator of Choi et al., CVPR 2018 (arXiv 1711.09020).

Layer order, and with it the names in a state dict (``main.N.weight``), is that of the official release, so its
checkpoints load unchanged (see `load_official`). Pictures are [B, 3, S, S] float32 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from dadfi_fast.deepfakes.base import with_planes, without_statistics


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

    Instance statistics are always those of the current picture: the official solver never calls ``eval()``, so the
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
        out: Tensor = self.main(with_planes(x, labels))
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


def load_official(state: Mapping[str, Tensor]) -> Generator:
    """A generator from a state dict in the official form; its width, labels and depth are read off the shapes.

    Running statistics (``running_mean``, ``running_var``, ``num_batches_tracked``) are dropped: see `Generator`.
    """
    weights = without_statistics(state)
    first = weights["main.0.weight"]
    blocks = sum(k.endswith(".main.0.weight") for k in weights)
    generator = Generator(conv_dim=first.shape[0], c_dim=first.shape[1] - 3, repeat_num=blocks)
    generator.load_state_dict(weights)
    return generator


def _norm_relu(width: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(width, affine=True), nn.ReLU(inplace=True)]
