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


def test_small_faces_meet_milder_jpegs_and_keep_their_colour() -> None:
    jpeg = {"jpeg_share": 1.0, "jpeg_quality": (50, 95), "jpeg_floors": (90, 60), "subsampled_from": 3.0}
    config = replace(CONFIG, photo_scales=(1.0, 4.0), **jpeg)  # type: ignore[arg-type]
    drawn = [draw(config, torch.zeros(8, 3, 16, 16), rng(seed)) for seed in range(60)]
    small = [transform for transform in drawn if transform.side == 16]
    large = [transform for transform in drawn if transform.side == 64]
    assert len(small) > 10 and all(t.chroma == 1 and t.quality is not None and t.quality.min() >= 90 for t in small)
    assert {t.chroma for t in large} == {1, 2}
    assert 60 <= min(int(t.quality.min()) for t in large if t.quality is not None) < 70


def test_how_far_an_adversary_goes_has_a_power() -> None:
    near, far = (
        draw(replace(CONFIG, crop_power=power), torch.zeros(400, 3, 16, 16), rng()).frames for power in (2.0, 1.0)
    )
    assert near is not None and far is not None
    assert (far[:, 0, 0] - 1).abs().mean() > 1.3 * (near[:, 0, 0] - 1).abs().mean()
