"""The TAESD family (github.com/madebyollin/taesd, MIT): tiny autoencoders for the latents of diffusion models.

The layers are read from the official state dict, since they differ between members (TAESD, TAESDXL, TAEF1, TAEF2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Pixels of a picture's side for each latent.
STRIDE = 8
#: How files of encoder and decoder together name a layer: diffusers (AutoencoderTiny), the official module, ComfyUI.
_PAIR: Final = re.compile(r"(?:taesd_)?(encoder|decoder)\.(layers\.)?(\d+)\.(.+)")


class Block(nn.Module):
    """Three 3x3 convolutions with a residual connection, [B, C, H, W] to the same shape.

    Args:
        wide: whether a pair of 1x1 convolutions with group norm comes first (TAEF2).
    """

    def __init__(self, channels: int, *, wide: bool) -> None:
        super().__init__()
        convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])
        self.pool = _mixing(channels, 4 * channels) if wide else None

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return F.relu(self.conv(x) + x)


def _mixing(channels: int, inner: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, inner, 1, bias=False), nn.GroupNorm(4, inner), nn.ReLU(),
        nn.Conv2d(inner, channels, 1, bias=False),
    )  # fmt: skip


class Clamp(nn.Module):
    """The first layer of a decoder: keeps latents within [-3, 3], smoothly."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


class Latents(nn.Module):
    """An encoder on pictures [B, 3, H, W] in [-1, 1], to codes [B, D]. It ignores the edit that it is called with."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor, edit: Tensor | None = None) -> Tensor:
        latents: Tensor = self.encoder((images + 1) / 2)
        return latents.flatten(1)


class Pictures(nn.Module):
    """A decoder on codes [B, D] of pictures of one size, to pictures [B, 3, S, S] in [-1, 1].

    Args:
        decoder: latents [B, L, S/8, S/8] to RGB in [0, 1].
        latents: L.
        image_size: S, in pixels.
    """

    def __init__(self, decoder: nn.Module, latents: int, image_size: int) -> None:
        super().__init__()
        self.decoder, self.shape = decoder, (latents, image_size // STRIDE, image_size // STRIDE)

    def forward(self, code: Tensor) -> Tensor:
        pictures: Tensor = self.decoder(code.reshape(-1, *self.shape))
        return pictures.clamp(0, 1) * 2 - 1


def split(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The state dicts of the ``encoder`` and the ``decoder`` in a file that names both, as official files are.

    Returns:
        Empty where ``state`` names neither. What belongs to no layer (a scale of the latents, say) is left out.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if match := _PAIR.fullmatch(name):
            part, layers, place, rest = match.groups()
            # The clamp with which the decoder begins is no layer in diffusers.
            shift = int(part == "decoder" and layers is not None)
            parts.setdefault(part, {})[f"{int(place) + shift}.{rest}"] = value
    return parts


def load(state: Mapping[str, Tensor]) -> nn.Sequential:
    """The network of an official state dict, or of the encoder in a file with both.

    Returns:
        An encoder, RGB [B, 3, H, W] in [0, 1] to latents [B, L, H/8, W/8]; or a decoder, which does the reverse.

    Raises:
        ValueError, KeyError, RuntimeError: it is neither.
    """
    state = split(state).get("encoder", state)
    layers, last = list[nn.Module](), max(int(name.split(".", 1)[0]) for name in state)
    encoder = state["0.weight"].shape[1] == 3 if "0.weight" in state else False
    for place in range(last + 1):
        layers.append(_layer(state, place, encoder=encoder))
    network = nn.Sequential(*layers)
    network.load_state_dict({name: value.float() for name, value in state.items()})
    return network.eval().requires_grad_(False)


def _layer(state: Mapping[str, Tensor], place: int, *, encoder: bool) -> nn.Module:
    if f"{place}.conv.0.weight" in state:
        return Block(state[f"{place}.conv.0.weight"].shape[0], wide=f"{place}.pool.0.weight" in state)
    if f"{place}.weight" in state:
        out, into, side, _ = state[f"{place}.weight"].shape
        bias = f"{place}.bias" in state
        # A convolution without bias belongs to a change of size; the encoder's has the stride itself.
        return nn.Conv2d(into, out, side, stride=2 if encoder and not bias else 1, padding=side // 2, bias=bias)
    if place == 0:
        return Clamp()
    # The decoder's other layers without weights: ReLU behind the first convolution, and upsampling.
    return nn.ReLU() if f"{place - 1}.bias" in state else nn.Upsample(scale_factor=2)
