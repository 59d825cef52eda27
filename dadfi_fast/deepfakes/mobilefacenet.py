"""MobileFaceNet (Chen et al. 2018), a face embedder, in the layout of github.com/foamliu/MobileFaceNet (Apache-2.0).

Face swappers read the person from such an embedding. Face recognition compares two of them by their cosine.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

#: Pixels a side of the aligned faces that it takes.
SIDE = 112
#: The aligned face within an adversary's crop (`dadfi_fast.faces.adversary`): the crop is resized to `CROP` pixels a
#: side, and `SIDE` pixels are taken from the column `LEFT` and the row `TOP` on. This maps the mean of the five points
#: that libfacedetection finds in 44 frontal portraits to ArcFace's template (Deng et al. 2019), but for one degree of
#: rotation.
CROP, LEFT, TOP = 152, 20, 10
#: Of ImageNet, on the scale [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Of the first block: groups of (expansion, channels, blocks, stride).
_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


def _convolution(into: int, out: int, side: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(into, out, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU6())


class _Separable(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1, self.bn2, self.relu = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.depthwise(x)))
        out: Tensor = self.relu(self.bn2(self.pointwise(x)))
        return out


class _Bottleneck(nn.Module):
    def __init__(self, into: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = into * expansion
        self.conv = nn.Sequential(
            _convolution(into, inner, 1), _convolution(inner, inner, 3, stride=stride, groups=inner),
            nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.residual = stride == 1 and into == out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class _Global(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.depthwise(x))
        return out


class MobileFaceNet(nn.Module):
    """Aligned faces [B, 3, 112, 112], RGB less ImageNet's mean and over its deviation, to embeddings [B, 128]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 64, 3, stride=2)
        self.dw_conv = _Separable(64)
        blocks, into = list[nn.Module](), 64
        for expansion, out, count, stride in _STAGES:
            for number in range(count):
                blocks.append(_Bottleneck(into, out, stride if number == 0 else 1, expansion))
                into = out
        self.features = nn.Sequential(*blocks)
        self.conv2 = _convolution(into, 512, 1)
        self.gdconv = _Global(512)
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm1d(128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.features(self.dw_conv(self.conv1(x))))
        out: Tensor = self.bn(self.conv3(self.gdconv(x)).flatten(1))
        return out


class Identity(nn.Module):
    """The embedder on adversary's crops [B, 3, `CROP`, `CROP`] in [-1, 1], to embeddings [B, 128] of length 1.

    It ignores the edit that it is called with.
    """

    def __init__(self, network: MobileFaceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, edit: Tensor | None = None) -> Tensor:
        face = (images[:, :, TOP : TOP + SIDE, LEFT : LEFT + SIDE] + 1) / 2
        mean, deviation = (face.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        return F.normalize(self.network((face - mean) / deviation).float())


def load(state: Mapping[str, Tensor]) -> MobileFaceNet:
    """The network with the weights of an official state dict.

    Raises:
        RuntimeError: names or shapes differ.
    """
    network = MobileFaceNet()
    network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return network.eval().requires_grad_(False)
