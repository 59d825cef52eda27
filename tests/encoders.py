"""Encoders of the form of the official ones, small and random, for the tests of several folders."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dadfi_fast.deepfakes import mobilefacenet, taesd

WIDTH = 8
LATENTS = 6


def block(wide: bool = False) -> taesd.Block:
    return taesd.Block(WIDTH, wide=wide)


def convolution(into: int, out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(into, out, 3, stride, 1, bias=bias)


def encoder(latents: int = LATENTS) -> nn.Sequential:
    """TAEF2's encoder layer by layer, as its authors list them, with fewer channels."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [convolution(3, WIDTH), block()]
    for stage in range(3):
        layers += [convolution(WIDTH, WIDTH, stride=2, bias=False), *(block(wide=stage == 2) for _ in range(3))]
    return nn.Sequential(*layers, convolution(WIDTH, latents))


def decoder(latents: int = LATENTS) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [taesd.Clamp(), convolution(latents, WIDTH), nn.ReLU()]
    for stage in range(3):
        layers += [*(block(wide=stage == 0) for _ in range(3)), nn.Upsample(scale_factor=2)]
        layers.append(convolution(WIDTH, WIDTH, bias=False))
    return nn.Sequential(*layers, block(), convolution(WIDTH, 3))


def embedder() -> mobilefacenet.MobileFaceNet:
    """MobileFaceNet with random weights."""
    torch.manual_seed(0)
    network = mobilefacenet.MobileFaceNet()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return network.eval()


def saved(network: nn.Module, path: Path) -> Path:
    """Write the state dict of ``network``, as a safetensors file where the name ends so; returns the path."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save(state, path)
    return path
