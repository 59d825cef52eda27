from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dadfi_fast.training.config import TrainConfig
from dadfi_fast.training.transforms import draw

CONFIG = TrainConfig(transforms=True, crop_share=1.0, crop_zoom=0.1, crop_shift=0.05, photo_scales=(1.0,))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_adversaries_differ_from_picture_to_picture_and_stay_within_their_bounds() -> None:
    frames = draw(CONFIG, torch.zeros(400, 3, 16, 16), rng()).frames
    assert frames is not None
    zoom, shift = frames[:, 0, 0] - 1, frames[:, :, 2] / 2
    assert 0.08 < zoom.abs().max() <= 0.1 and 0.04 < shift.abs().max() <= 0.05
    assert (zoom.abs() < 0.02).float().mean() > 0.4  # most cut nearly as we do
    assert torch.equal(frames[:, 0, 0], frames[:, 1, 1]) and (frames[:, 0, 1] == 0).all()


def test_without_strength_the_adversary_cuts_as_we_do() -> None:
    x = torch.rand(4, 3, 16, 16, generator=rng()) * 2 - 1
    transform = draw(replace(CONFIG, jpeg_share=0.0), x, rng(), strength=0.0)
    torch.testing.assert_close(transform.clean(x), x)


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_margin_of_his_own(share: float) -> None:
    frames = draw(replace(CONFIG, crop_share=share), torch.zeros(200, 3, 16, 16), rng()).frames
    assert frames is not None and frames[:, 0, 0].mean().item() == pytest.approx(share, abs=0.01)


def test_both_pictures_are_cut_alike() -> None:
    x = torch.rand(4, 3, 32, 32, generator=rng()) * 2 - 1
    transform = draw(replace(CONFIG, jpeg_share=0.0, blur_share=0.0), x, rng())
    torch.testing.assert_close(transform.protected(x, torch.zeros_like(x)), transform.clean(x), atol=1 / 127, rtol=0)
