"""The mask network of StarGAN v2: a landmark detector that says where to keep the source's high frequencies.

A face alignment network with one hourglass (Bulat & Tzimiropoulos, ICCV 2017), coordinate channels and 98 landmarks as
in Adaptive Wing Loss (Wang, Bo & Fuxin, ICCV 2019). Names in a state dict are those of the official release, so that
the part ``fan`` of its ``nets_ema.ckpt`` loads unchanged. Where this network is, the generator has ``high_pass`` > 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dadfi_fast.deepfakes.stargan2 import Generator, StyledGenerator, load_styled

LANDMARKS: Final = 98
#: The side of the pictures that the network sees, and of the masks, in pixels.
SIDE: Final = 256
#: Channels inside the hourglass, and how often it halves its input.
WIDTH: Final = 256
DEPTH: Final = 4
#: Heat below this is none.
THRESHOLD: Final = 0.1


class Part(NamedTuple):
    """How some landmarks enter the masks."""

    landmarks: tuple[int, ...]
    up: int  # pixels that the heat is moved up (down where negative; what leaves comes in on the other side)
    power: int  # the heat, in [0, 1], is raised to this: a smaller spot
    fine: bool  # enters the mask of the finer features too


#: Landmarks in WFLW's order; the outer jaw, the inner ends of the eyebrows and the corners of the mouth enter no mask.
PARTS: Final = (
    Part(tuple(range(8, 25)), up=0, power=3, fine=False),  # chin
    Part((*range(34, 46), *range(47, 51)), up=-7, power=2, fine=False),  # eyebrows
    Part((51,), up=0, power=1, fine=True),  # bridge of the nose: its upper end
    Part((52, 53, 54), up=4, power=1, fine=True),
    Part(tuple(range(55, 60)), up=8, power=4, fine=True),  # nostrils
    Part(tuple(range(60, 76)), up=-8, power=3, fine=True),  # eyes
    Part(tuple(range(60, 76)), up=-24, power=1, fine=True),  # below the eyes
    Part(tuple(range(77, 82)), up=-8, power=4, fine=False),  # upper lip
    Part(tuple(range(83, 88)), up=8, power=4, fine=False),  # lower lip
    Part(tuple(range(88, 96)), up=-2, power=3, fine=False),  # inside of the lips
    Part((96, 97), up=0, power=1, fine=True),  # pupils
)


class CoordConv(nn.Module):
    """A convolution that also sees row, column and distance from the middle; [B, C, H, W] -> [B, D, H', W']."""

    def __init__(self, source: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(source + 3, width, kernel, stride, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        row, column = (torch.linspace(-1, 1, n, device=x.device, dtype=x.dtype) for n in x.shape[2:])
        distance = (row[:, None] ** 2 + column**2).sqrt()
        places = torch.stack([row[:, None].expand_as(distance), column.expand_as(distance), distance / distance.max()])
        out: Tensor = self.conv(torch.cat([x, places.expand(len(x), -1, -1, -1)], dim=1))
        return out


class Block(nn.Module):
    """Three pre-activation conv3 of 1/2, 1/4 and 1/4 of the width side by side, plus the input (or its conv1)."""

    def __init__(self, source: int, width: int) -> None:
        super().__init__()
        steps = (source, width // 2, width // 4, width // 4)
        for i, (a, b) in enumerate(pairwise(steps), start=1):
            self.add_module(f"bn{i}", nn.BatchNorm2d(a))
            self.add_module(f"conv{i}", nn.Conv2d(a, b, 3, 1, 1, bias=False))
        shortcut = (nn.BatchNorm2d(source), nn.ReLU(), nn.Conv2d(source, width, 1, bias=False))
        self.downsample = nn.Sequential(*shortcut) if source != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h, heatmaps = x, []
        for i in (1, 2, 3):
            h = self.get_submodule(f"conv{i}")(F.relu(self.get_submodule(f"bn{i}")(h)))
            heatmaps.append(h)
        out: Tensor = torch.cat(heatmaps, dim=1) + self.downsample(x)
        return out


class Hourglass(nn.Module):
    """Down to 1/16 of the size and up again, with a block beside every level; [B, 256, H, W] -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.coordconv = CoordConv(WIDTH, WIDTH, 1)
        names = [f"{branch}_{level}" for level in range(1, DEPTH + 1) for branch in ("b1", "b2", "b3")]
        for name in (*names, "b2_plus_1"):
            self.add_module(name, Block(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x, beside = self.coordconv(x), []
        for level in range(DEPTH, 0, -1):
            beside.append(self.get_submodule(f"b1_{level}")(x))
            x = self.get_submodule(f"b2_{level}")(F.avg_pool2d(x, 2))
        x = self.get_submodule("b2_plus_1")(x)
        for level in range(1, DEPTH + 1):
            x = self.get_submodule(f"b3_{level}")(x)
            x = beside.pop() + F.interpolate(x, scale_factor=2.0, mode="nearest")
        return x


class MaskNetwork(nn.Module):
    """Pictures to landmarks, and landmarks to masks; always in evaluation mode, its weights are never trained."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = CoordConv(3, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2, self.conv3, self.conv4 = Block(64, 128), Block(128, 128), Block(128, WIDTH)
        self.m0, self.top_m_0 = Hourglass(), Block(WIDTH, WIDTH)
        self.conv_last0, self.bn_end0 = nn.Conv2d(WIDTH, WIDTH, 1), nn.BatchNorm2d(WIDTH)
        self.l0 = nn.Conv2d(WIDTH, LANDMARKS + 1, 1)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> MaskNetwork:
        """Stay in evaluation mode, whatever the module around this one does."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [B, 3, 256, 256] in [-1, 1] -> heat of the landmarks [B, 98, 64, 64], about 1 where one is."""
        x = F.relu(self.bn1(self.conv1(x / 2 + 0.5)))
        x = self.conv4(self.conv3(F.avg_pool2d(self.conv2(x), 2)))
        x = self.top_m_0(self.m0(x))
        heat: Tensor = self.l0(F.relu(self.bn_end0(self.conv_last0(x))))
        return heat[:, :LANDMARKS]  # the channel behind is the outline of the face

    def masks(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Where `Generator` keeps high frequencies of ``images`` [B, 3, S, S] in [-1, 1], without a gradient.

        Returns:
            For the coarse features (side 32) and the fine ones (64 and 128), each [B, 1, 256, 256] in [0, 1].
        """
        images = F.interpolate(images.detach(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        heat = F.interpolate(self(images), size=(SIDE, SIDE), mode="bilinear", align_corners=True)
        coarse, fine = masks_of(heat)
        return coarse.detach(), fine.detach()


class MaskedGenerator(StyledGenerator):
    """A `StyledGenerator` that finds the masks of its input itself.

    Args:
        generator: with ``high_pass`` > 0.
        styles: [K, style_dim], each from a latent code or from a reference picture.
        masks: finds the landmarks.
    """

    def __init__(self, generator: Generator, styles: Tensor, masks: MaskNetwork) -> None:
        assert generator.high_pass > 0, "a generator without high frequencies has no use for masks"
        super().__init__(generator, styles)
        self.fan = masks

    def forward(self, x: Tensor, edit: Tensor) -> Tensor:
        """As `StyledGenerator.forward`; the masks are a function of ``x`` that no gradient goes through."""
        style = self.styles(edit.to(self.styles.weight.dtype))
        out: Tensor = self.generator(x, style, self.fan.masks(x)).clamp(-1, 1)
        return out


def masks_of(heat: Tensor) -> tuple[Tensor, Tensor]:
    """The coarse and the fine mask, each [B, 1, H, W] in [0, 1], of the landmarks' heat [B, 98, H, W] (`PARTS`)."""
    heat = torch.where(heat < THRESHOLD, 0.0, heat)
    low, high = heat.amin((2, 3), keepdim=True), heat.amax((2, 3), keepdim=True)
    heat = (heat - low) / (high - low + 1e-6)
    spots = [heat[:, list(p.landmarks)].pow(p.power).sum(1, keepdim=True).roll(-p.up, dims=2) for p in PARTS]
    fine = [spot for spot, part in zip(spots, PARTS, strict=True) if part.fine]
    return torch.cat(spots, 1).sum(1, keepdim=True).clamp(0, 1), torch.cat(fine, 1).sum(1, keepdim=True).clamp(0, 1)


def load(state: Mapping[str, Tensor], image_size: int) -> StyledGenerator:
    """A StarGAN v2 with its styles from its own state dict, with masks where the state has a mask network.

    Args:
        state: names ``generator.*``, ``styles.weight``, and ``fan.*`` if any. What no forward pass uses may be missing,
            as it is in an ONNX file: ``num_batches_tracked``, and the shortcuts of decoder blocks that have none.
        image_size: the side of the pictures, in pixels.
    """
    weights = {name: value for name, value in state.items() if name.endswith((".weight", ".bias"))}
    styled = load_styled(_unused_shortcuts(weights) | weights, image_size)
    part = {name.removeprefix("fan."): value for name, value in state.items() if name.startswith("fan.")}
    if not part:
        return styled
    assert isinstance(styled.generator, Generator)
    return MaskedGenerator(styled.generator, styled.styles.weight.T, load_masks(part)).eval()


def _unused_shortcuts(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Zeros for each ``conv1x1`` of a decoder block that changes the width."""
    shortcuts = {}
    for name, value in weights.items():
        if name.startswith("generator.decode.") and name.endswith(".conv1.weight") and value.shape[0] != value.shape[1]:
            shortcuts[name.replace(".conv1.", ".conv1x1.")] = torch.zeros(*value.shape[:2], 1, 1)
    return shortcuts


def load_masks(state: Mapping[str, Tensor]) -> MaskNetwork:
    """The mask network of the official part ``fan``; ``num_batches_tracked`` may be missing."""
    network = MaskNetwork()
    counts = {name: value for name, value in network.state_dict().items() if name.endswith(".num_batches_tracked")}
    network.load_state_dict(counts | dict(state))
    return network
