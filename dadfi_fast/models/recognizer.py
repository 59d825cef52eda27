"""The recognizers ``Ide_x`` (Eq. 3) and ``Ide_y`` (Eq. 7-9) of DADFI.

The paper does not give their layers; these are AdvGAN's (Xiao et al. 2018) without its batch norm: three 4x4
convolutions of stride 2 with LeakyReLU and a 1x1 convolution to one logit a patch.
"""

from __future__ import annotations

from torch import Tensor, nn


class Recognizer(nn.Module):
    """Pictures [B, 3, H, W] in [-1, 1] to patch logits [B, 1, H/8, W/8]; high means "real"."""

    def __init__(self, widths: tuple[int, int, int] = (8, 16, 32)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for source, target in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(source, target, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out
