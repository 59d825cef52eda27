"""Deepfake models and pictures made on the spot, whose answers can be followed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.edits import Targets
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Float32

NAMES = ("Male", "Young")


class Tilt(nn.Module):
    """Adds ``shift``, and ``gain`` times the difference of the left and the right half, to every pixel.

    The first edit is answered so; the second one with the picture as it came, so that its mask is empty.
    """

    def __init__(self, gain: float, shift: float) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.tensor(gain)), shift

    def forward(self, x: Tensor, edit: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        tilt = x[..., :half].mean((1, 2, 3)) - x[..., half:].mean((1, 2, 3))
        first = (edit[:, 0] == 1).float()
        return x + ((self.shift + self.gain * tilt) * first)[:, None, None, None]


def tilting(name: str, gain: float, shift: float = 0.5) -> Target:
    return Target(name, Editor(Tilt(gain, shift), 8).eval().requires_grad_(False), "0" * 64, Targets(NAMES))


@pytest.fixture
def strong() -> Target:
    return tilting("strong", 8.0)


@pytest.fixture
def weak() -> Target:
    """Cannot be broken within any budget."""
    return tilting("weak", 0.1)


@pytest.fixture
def blind() -> Target:
    """Changes nothing, whatever it is asked for."""
    return tilting("blind", 0.0, shift=0.0)


@pytest.fixture
def crops() -> Float32:
    """Three grey pictures with a little noise; symmetric, so that nothing tilts."""
    left = np.random.default_rng(0).uniform(-0.2, 0.2, (3, 3, 8, 4))
    return np.concatenate([left, left[..., ::-1]], axis=3).astype(np.float32)


@pytest.fixture
def labels() -> Float32:
    return np.zeros((3, 2), np.float32)
