from __future__ import annotations

import numpy as np
import torch

from dadfi_fast.attacks.anti_forgery import SCALE, AntiForgery
from dadfi_fast.attacks.cielab import to_lab
from dadfi_fast.attacks.noise import Noise
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget, Float32


def lab(crops: Float32) -> torch.Tensor:
    return to_lab((torch.tensor(crops) + 1) / 2)


def test_changes_colours_within_its_bound_and_brightness_hardly(
    strong: Target, crops: Float32, labels: Float32
) -> None:
    attack = AntiForgery([strong], Budget(0.2), bound=0.02, rate=0.005, steps=30)  # a budget that does not cut it short
    change = lab(crops + attack.aim(labels)(crops)) - lab(crops)
    assert change[:, 1:].abs().max() <= 0.02 * SCALE + 0.01
    assert change[:, 1:].abs().max() > 0.8 * 0.02 * SCALE
    noise = lab(crops + Noise(Budget(0.05))(crops)) - lab(crops)
    assert change[:, 0].abs().max() < 0.02 * noise[:, 0].abs().max()


def test_tilts_the_picture(strong: Target, crops: Float32, labels: Float32) -> None:
    delta = AntiForgery([strong], Budget(), rate=0.005, steps=30).aim(labels)(crops)
    tilt = delta[..., :4].mean((1, 2, 3)) - delta[..., 4:].mean((1, 2, 3))
    assert (np.abs(tilt) > 0.005).all()


def test_one_gradient_a_step(strong: Target, weak: Target, crops: Float32, labels: Float32) -> None:
    attack = AntiForgery([strong, weak], Budget(), steps=5)
    attack.aim(labels)(crops)
    assert attack.calls.gradients == 5 * len(crops)
