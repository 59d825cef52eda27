from __future__ import annotations

import numpy as np
import pytest
import torch

from dadfi_fast.attacks.adv_bot import BANDS, AdvBot, box, cosines, pattern
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget, Float32


def test_leaves_everything_outside_the_face_alone(strong: Target, labels: Float32) -> None:
    crops = np.random.default_rng(1).uniform(-0.5, 0.5, (3, 3, 16, 16)).astype(np.float32)
    delta = AdvBot([strong], Budget(), rounds=4, margin=0.25).aim(labels)(crops)
    assert not delta[:, :, :4].any() and not delta[..., 12:].any()
    assert delta[:, :, 4:12, 4:12].any()


def test_keeps_only_what_helps(strong: Target, crops: Float32, labels: Float32) -> None:
    attack = AdvBot([strong], Budget(), rounds=6, margin=0)
    delta = attack.aim(labels)(crops)
    tilt = delta[..., :4].mean((1, 2, 3)) - delta[..., 4:].mean((1, 2, 3))
    assert (np.abs(tilt) > 0.01).all()
    assert attack.calls.gradients == 0


def test_a_round_asks_once_and_then_twice_for_each_band(strong: Target, crops: Float32, labels: Float32) -> None:
    attack = AdvBot([strong], Budget(), rounds=2)
    attack.aim(labels)(crops)
    assert attack.calls.queries == len(crops) * (2 + 2 * (1 + 2 * len(BANDS)))


@pytest.mark.parametrize("band", BANDS)
def test_a_pattern_is_of_its_band_alone(band: tuple[int, int]) -> None:
    plane = pattern(torch.zeros(1, 3, 16, 8), band, torch.Generator().manual_seed(0))
    assert plane.abs().max() == 1
    blocks = plane.reshape(1, 3, 2, 8, 8)
    assert torch.equal(blocks[:, :, 0], blocks[:, :, 1])
    order = torch.arange(8)[:, None] + torch.arange(8)
    strength = (cosines() @ blocks @ cosines().T).abs().amax((0, 1, 2))
    assert (strength[(order >= band[0]) & (order <= band[1])] > 0.1).all()
    assert (strength[(order < band[0]) | (order > band[1])] < 1e-5).all()


def test_the_bands_are_all_there_is() -> None:
    assert sorted(i for first, last in BANDS for i in range(first, last + 1)) == list(range(15))


def test_the_transform_is_orthonormal() -> None:
    torch.testing.assert_close(cosines() @ cosines().T, torch.eye(8), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(13, 17), (8, 8), (5, 3)])
def test_sides_that_are_no_multiple_of_a_block(height: int, width: int) -> None:
    like = torch.zeros(2, 3, height, width)
    assert pattern(like, (0, 1), torch.Generator()).shape == like.shape
    assert box(like, 0.0).all()
