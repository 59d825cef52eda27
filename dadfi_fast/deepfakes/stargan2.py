"""StarGAN v2: the networks of Choi et al., CVPR 2020 (arXiv 1912.01865), written anew from the paper's appendix A.

Names in a state dict are those of the official release, so its ``nets_ema.ckpt`` loads unchanged (see `load_official`).
Pictures are [B, 3, S, S] float32 in [-1, 1], S a power of two; a style is [B, style_dim]; a domain is an index.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dadfi_fast.deepfakes.base import without_statistics

#: Channels at the full size times the side: 64 at 256 px, as official.
WIDTH_TIMES_SIZE: Final = 2**14
#: Sides at which `masks` keep high frequencies of the source (official, at 256 px).
MASKED: Final = (32, 64, 128)


class ResBlock(nn.Module):
    """Pre-activation residual block of encoder, style encoder and discriminator: [B, C, H, W] -> [B, D, H', W']."""

    def __init__(self, source: int, width: int, *, normalize: bool = False, downsample: bool = False) -> None:
        super().__init__()
        self.downsample = downsample
        self.conv1, self.conv2 = nn.Conv2d(source, source, 3, 1, 1), nn.Conv2d(source, width, 3, 1, 1)
        norms = (nn.InstanceNorm2d(source, affine=True) if normalize else nn.Identity() for _ in range(2))
        self.norm1, self.norm2 = norms
        self.conv1x1 = nn.Conv2d(source, width, 1, bias=False) if source != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.leaky_relu(self.norm1(x), 0.2))
        if self.downsample:
            x, h = _halved(x), _halved(h)  # the shortcut is halved before its conv1x1, which is the same and cheaper
        h = self.conv2(F.leaky_relu(self.norm2(h), 0.2))
        out: Tensor = (self.conv1x1(x) + h) / math.sqrt(2)
        return out


class AdaIN(nn.Module):
    """Instance norm whose scale and shift come from a style (Eq. 1 of Huang & Belongie 2017)."""

    def __init__(self, style_dim: int, width: int) -> None:
        super().__init__()
        self.norm, self.fc = nn.InstanceNorm2d(width), nn.Linear(style_dim, 2 * width)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        gain, shift = self.fc(style)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = (1 + gain) * self.norm(x) + shift
        return out


class AdaINBlock(nn.Module):
    """Decoder block: AdaIN - LeakyReLU - (x2) - conv3, twice; no shortcut where high frequencies are passed on."""

    def __init__(self, source: int, width: int, style_dim: int, *, shortcut: bool, upsample: bool = False) -> None:
        super().__init__()
        self.upsample, self.shortcut = upsample, shortcut
        self.conv1, self.conv2 = nn.Conv2d(source, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.norm1, self.norm2 = AdaIN(style_dim, source), AdaIN(style_dim, width)
        self.conv1x1 = nn.Conv2d(source, width, 1, bias=False) if source != width else nn.Identity()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        h = self._enlarged(F.leaky_relu(self.norm1(x, style), 0.2))
        out: Tensor = self.conv2(F.leaky_relu(self.norm2(self.conv1(h), style), 0.2))
        if self.shortcut:
            out = (out + self._enlarged(self.conv1x1(x))) / math.sqrt(2)  # conv1x1 first is the same and cheaper
        return out

    def _enlarged(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.upsample else x


class Generator(nn.Module):
    """Picture and style to picture.

    Args:
        image_size: S (official: 256).
        style_dim: length of a style (official: 64).
        max_width: most channels (official: 512).
        high_pass: the official ``w_hpf``: 1 for faces, which lets `masks` in and deepens the network by a block; 0:
            none.
        width: channels at the full size (official: 2**14 / S).
        depth: how often the picture is halved (official: down to 16 px, and once more with ``high_pass``).
    """

    def __init__(
        self, image_size: int = 256, style_dim: int = 64, max_width: int = 512, high_pass: float = 1.0,
        width: int | None = None, depth: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.image_size, self.style_dim, self.high_pass = image_size, style_dim, high_pass
        first = width or WIDTH_TIMES_SIZE // image_size
        depth = depth or int(math.log2(image_size)) - 4 + (high_pass > 0)
        widths = [min(first * 2**i, max_width) for i in range(depth + 1)]
        self.from_rgb = nn.Conv2d(3, first, 3, 1, 1)
        down = [ResBlock(a, b, normalize=True, downsample=True) for a, b in pairwise(widths)]
        self.encode = nn.ModuleList([*down, *(ResBlock(widths[-1], widths[-1], normalize=True) for _ in range(2))])
        kind: dict[str, Any] = {"style_dim": style_dim, "shortcut": high_pass == 0}
        up = [AdaINBlock(b, a, upsample=True, **kind) for a, b in pairwise(widths)]
        self.decode = nn.ModuleList([*(AdaINBlock(widths[-1], widths[-1], **kind) for _ in range(2)), *up[::-1]])
        last = nn.InstanceNorm2d(first, affine=True)
        self.to_rgb = nn.Sequential(last, nn.LeakyReLU(0.2), nn.Conv2d(first, 3, 1))

    def forward(self, x: Tensor, style: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """``x`` [B, 3, S, S] in the ``style`` [B, style_dim]; same shape, range not bounded.

        Args:
            masks: where to keep the source's high frequencies, [B, 1, H, W] in [0, 1]: for side 32, and for 64 and 128
                (`dadfi_fast.deepfakes.landmarks`); None as official without a mask network.
        """
        x, kept = self.from_rgb(x), {}
        for block in self.encode:
            if masks is not None and x.shape[2] in MASKED:
                kept[x.shape[2]] = x
            x = block(x)
        for block in self.decode:
            x = block(x, style)
            if masks is not None and x.shape[2] in MASKED:
                mask = masks[0] if x.shape[2] == MASKED[0] else masks[1]
                mask = F.interpolate(mask, size=x.shape[2:], mode="bilinear")
                x = x + _high_pass(mask * kept[x.shape[2]], self.high_pass)
        out: Tensor = self.to_rgb(x)
        return out


class MappingNetwork(nn.Module):
    """Latent code and domain to style: latent-guided edits. ``width`` is 512 officially."""

    def __init__(self, latent_dim: int = 16, style_dim: int = 64, domains: int = 2, width: int = 512) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.shared = nn.Sequential(*_dense(latent_dim, width), *(m for _ in range(3) for m in _dense(width, width)))
        self.unshared = nn.ModuleList(
            nn.Sequential(*(m for _ in range(3) for m in _dense(width, width)), nn.Linear(width, style_dim))
            for _ in range(domains)
        )

    def forward(self, z: Tensor, domain: Tensor) -> Tensor:
        """``z`` [B, latent_dim] ~ N(0, 1) and ``domain`` [B] int64 -> style [B, style_dim]."""
        h = self.shared(z)
        return _of_domain([head(h) for head in self.unshared], domain)


class StyleEncoder(nn.Module):
    """Reference picture and domain to style: reference-guided edits. ``width`` as in `Generator`."""

    def __init__(
        self, image_size: int = 256, style_dim: int = 64, domains: int = 2, max_width: int = 512,
        width: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        blocks, last = _trunk(image_size, max_width, width)
        self.shared = nn.Sequential(*blocks)
        self.unshared = nn.ModuleList(nn.Linear(last, style_dim) for _ in range(domains))

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """``x`` [B, 3, S, S] in [-1, 1] and its ``domain`` [B] int64 -> style [B, style_dim]."""
        h = self.shared(x).flatten(1)
        return _of_domain([head(h) for head in self.unshared], domain)


class Discriminator(nn.Module):
    """One realness logit a domain (only training needs it)."""

    def __init__(self, image_size: int = 256, domains: int = 2, max_width: int = 512, width: int | None = None) -> None:
        super().__init__()
        blocks, last = _trunk(image_size, max_width, width)
        self.main = nn.Sequential(*blocks, nn.Conv2d(last, domains, 1))

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """``x`` [B, 3, S, S] and ``domain`` [B] int64 -> logits [B]."""
        out: Tensor = self.main(x).flatten(1).gather(1, domain[:, None]).squeeze(1)
        return out


class StyledGenerator(nn.Module):
    """A generator with a table of styles, so that an edit is a vector as in the other families.

    Args:
        generator: called with pictures and styles.
        styles: [K, style_dim], each from a latent code or from a reference picture.
    """

    def __init__(self, generator: nn.Module, styles: Tensor) -> None:
        super().__init__()
        self.generator, self.styles = generator, nn.Linear(len(styles), styles.shape[1], bias=False)
        self.styles.weight = nn.Parameter(styles.T.clone(), requires_grad=False)

    def forward(self, x: Tensor, edit: Tensor) -> Tensor:
        """``x`` [B, 3, S, S] in the styles ``edit`` [B, K], one-hot or a mixture; same shape, clamped to [-1, 1]."""
        out: Tensor = self.generator(x, self.styles(edit.to(self.styles.weight.dtype))).clamp(-1, 1)
        return out


def load_official(state: Mapping[str, Mapping[str, Tensor]]) -> tuple[Generator, MappingNetwork, StyleEncoder]:
    """The networks in a checkpoint of the official form (``nets_ema.ckpt``); sizes are read off the shapes.

    Names may have the prefix ``module.``. The side of the pictures follows from the depth of the style encoder.
    """
    nets = {name: without_statistics(_without_prefix(part)) for name, part in state.items()}
    mapping, style = nets["mapping_network"], nets["style_encoder"]
    image_size = 2 ** (2 + sum(k.endswith(".conv1.weight") for k in style))
    generator = _sized_generator(nets["generator"], image_size)
    domains = sum(k.startswith("unshared.") and k.endswith(".6.weight") for k in mapping)
    width, latent_dim = mapping["shared.0.weight"].shape
    network = MappingNetwork(latent_dim, generator.style_dim, domains, width)
    first = style["shared.0.weight"].shape[0]
    widest = max(v.shape[0] for k, v in style.items() if k.startswith("shared."))
    encoder = StyleEncoder(image_size, generator.style_dim, domains, widest, first)
    for module, weights in ((generator, nets["generator"]), (network, mapping), (encoder, style)):
        module.load_state_dict(weights)
    return generator, network, encoder


def load_styled(state: Mapping[str, Tensor], image_size: int) -> StyledGenerator:
    """A `StyledGenerator` for pictures of ``image_size`` px from its own state dict."""
    prefix = "generator."
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    generator = _sized_generator(weights, image_size)
    generator.load_state_dict(weights)
    return StyledGenerator(generator, state["styles.weight"].T)


def _sized_generator(weights: Mapping[str, Tensor], image_size: int) -> Generator:
    first, style_dim = weights["from_rgb.weight"].shape[0], weights["decode.0.norm1.fc.weight"].shape[1]
    widest = max(v.shape[0] for k, v in weights.items() if k.startswith("encode."))
    depth = sum(k.startswith("encode.") and k.endswith(".conv1.weight") for k in weights) - 2
    one_deeper = depth > int(math.log2(image_size)) - 4  # what w_hpf = 1 does; its value is in no weight
    return Generator(image_size, style_dim, widest, float(one_deeper), first, depth)


def _trunk(image_size: int, max_width: int, width: int | None) -> tuple[list[nn.Module], int]:
    """From a picture to one vector: conv3, a halving block for each power of two above 4, conv4; and its width."""
    first = width or WIDTH_TIMES_SIZE // image_size
    widths = [min(first * 2**i, max_width) for i in range(int(math.log2(image_size)) - 1)]
    blocks: list[nn.Module] = [nn.Conv2d(3, first, 3, 1, 1)]
    blocks += [ResBlock(a, b, downsample=True) for a, b in pairwise(widths)]
    blocks += [nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], widths[-1], 4), nn.LeakyReLU(0.2)]
    return blocks, widths[-1]


def _dense(source: int, width: int) -> tuple[nn.Module, nn.Module]:
    return nn.Linear(source, width), nn.ReLU()


def _of_domain(heads: list[Tensor], domain: Tensor) -> Tensor:
    return torch.stack(heads, dim=1)[torch.arange(len(domain), device=domain.device), domain]


def _halved(x: Tensor) -> Tensor:
    """Mean over 2x2 pixels; the sum of slices is several times as fast on a CPU as avg_pool2d and its backward."""
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def _high_pass(x: Tensor, strength: float) -> Tensor:
    """The 3x3 high-pass filter of the official release (8 in the middle, -1 around), over ``strength``."""
    kernel = torch.full((3, 3), -1.0, device=x.device, dtype=x.dtype)
    kernel[1, 1] = 8.0
    return F.conv2d(x, (kernel / strength).expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def _without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("module."): value for name, value in weights.items()}
