from __future__ import annotations

import pytest
import torch

from dadfi_fast.attacks.aimed import project, uniform, unit
from dadfi_fast.attacks.pgd import PGD
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.errors import UsageError
from dadfi_fast.types import Budget


def test_what_is_projected_is_small_and_leaves_a_picture() -> None:
    x = torch.tensor([-1.0, -0.99, 0.0, 1.0])
    delta = project(x, torch.tensor([-1.0, -1.0, 1.0, 0.03]), 0.05)
    torch.testing.assert_close(delta, torch.tensor([0.0, -0.01, 0.05, 0.0]))


def test_gradients_weigh_alike_whatever_their_scale_and_nothing_stays_nothing() -> None:
    slope = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    both = unit(torch.cat([slope, 1e-6 * slope, 0 * slope]))
    torch.testing.assert_close(both[0], both[1])
    assert both[0].abs().mean().item() == pytest.approx(1)
    assert not both[2].any()


def test_noise_fills_its_range() -> None:
    noise = uniform(torch.zeros(1000), 0.3, torch.Generator().manual_seed(0))
    assert -0.3 <= noise.min() < -0.29 and 0.29 < noise.max() <= 0.3


def test_an_unknown_loss_is_refused(strong: Target) -> None:
    with pytest.raises(UsageError, match="unknown distortion 'mse'"):
        PGD([strong], Budget(), loss="mse")
