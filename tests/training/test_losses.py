from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dadfi_fast.attacks.distortion import masked_distortion
from dadfi_fast.metrics import defence
from dadfi_fast.metrics.differentiable import linear
from dadfi_fast.protect.job import require
from dadfi_fast.training import losses


def test_hinge_is_nothing_within_the_bound_and_the_excess_beyond() -> None:
    delta = torch.zeros(2, 3, 4, 4)
    delta[0, 0, 0, 0], delta[1, 1, 1, 1] = -0.05, 0.08
    assert losses.hinge(delta, 0.05).item() == pytest.approx(0.03 / 2)


def test_recognizers_and_generator_pull_in_opposite_directions() -> None:
    sure, fooled = torch.full((4,), 5.0), torch.full((4,), -5.0)
    assert losses.recognizer_loss(sure, fooled) < 0.1 < losses.recognizer_loss(fooled, sure)
    assert losses.fooling_loss(sure) < 0.1 < losses.fooling_loss(fooled)


def test_the_masked_distortion_is_the_metric_that_is_reported() -> None:
    rng = np.random.default_rng(0)
    source, clean, moved = (rng.uniform(-0.4, 0.4, (3, 3, 8, 8)).astype(np.float32) for _ in range(3))
    ours = masked_distortion(*map(torch.from_numpy, (clean, moved, source)))
    mask = defence.edit_mask(source, clean)
    assert mask.any() and not mask.all()
    np.testing.assert_allclose(ours, defence.mask_distance(clean, moved, mask), rtol=1e-5)


def test_an_empty_mask_is_no_distortion() -> None:
    x = torch.zeros(1, 3, 4, 4)
    assert masked_distortion(x + 0.1, x - 1, x).item() == 0  # 3 x 0.1 is below the threshold of 0.5


def test_what_is_broken_or_unseen_adds_nothing() -> None:
    assert losses.shortfall(torch.tensor([0.36, 0.16]), 0.25).item() == pytest.approx(0.05, abs=1e-5)
    delta = torch.full((2, 3, 4, 4), 0.02)
    assert losses.visibility(delta, 0.03).item() == 0
    assert losses.visibility(delta, 0.015).item() == pytest.approx(0.005, abs=1e-6)


def test_the_logarithm_pulls_at_what_is_broken_least() -> None:
    distortion = torch.tensor([0.001, 0.01, 0.3], requires_grad=True)
    (slope,) = torch.autograd.grad(losses.log_shortfall(distortion, 0.12), distortion)
    assert slope[0] < 4 * slope[1] < 0 and slope[2] == 0  # what is broken beyond the goal no longer pays


def test_a_floor_takes_weight_from_what_hardly_answers() -> None:
    distortion = torch.tensor([1e-5, 0.05], requires_grad=True)
    slopes = []
    for floor in (1e-3, 1e-2):
        losses.log_shortfall(distortion, 0.25, floor=floor).backward()
        slope = require(distortion.grad)
        slopes.append((slope[0] / slope[1]).item())
        distortion.grad = None
    assert slopes == pytest.approx([0.051 / 0.00101, 0.06 / 0.01001], rel=1e-3)


def test_rms_and_psnr_are_one_scale() -> None:
    rms = losses.rms_of_psnr(38.5)
    assert 10 * math.log10(255**2 / (rms * 127.5) ** 2) == pytest.approx(38.5)


def test_the_opponent_basis_keeps_the_root_mean_square() -> None:
    delta = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    rotated = losses.opponent(delta)
    torch.testing.assert_close(rotated.square().mean(), delta.square().mean())
    axes = losses.opponent(torch.eye(3)[..., None, None])[..., 0, 0]  # of a change of red, of green and of blue alone
    assert (axes[:, 0] / axes[0, 0]).tolist() == pytest.approx([1, 0.587 / 0.299, 0.114 / 0.299], rel=1e-5)
    assert axes[2, 1] > 0.98  # blue is nearly all of its axis, and has no part in red against green
    assert axes[:, 2].tolist() == pytest.approx([0.891, -0.454, 0], abs=1e-3)


def test_each_axis_counts_for_what_it_is_given() -> None:
    axes = losses.opponent(torch.eye(3)[..., None, None])[..., 0, 0].T  # orthonormal: its rows are the changes
    for delta, factor in zip(axes, (1, 0.2, 3), strict=True):
        change = 0.02 * delta[None, :, None, None].expand(1, 3, 4, 4)
        loss = losses.visibility(change, 0.0, axes=(1.0, 0.2, 3.0)).item()
        assert loss == pytest.approx(factor * losses.visibility(change, 0.0).item(), rel=1e-4)


def test_a_change_on_smooth_skin_is_seen_more_than_one_in_hair() -> None:
    x = torch.zeros(1, 3, 32, 32)
    x[..., 16:] = torch.rand(32, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1  # busy on the right
    weights = losses.sensitivity(x)
    assert weights.square().mean().item() == pytest.approx(1, rel=1e-4)
    assert weights[..., :10].min() > 2 * weights[..., 22:].max()
    left, right = torch.zeros(2, 1, 3, 32, 32)
    left[..., :10], right[..., -10:] = 0.02, 0.02
    hidden, plain = (losses.visibility(d, 0.0, sensitivity=weights).item() for d in (right, left))
    assert plain > 2 * hidden


def test_contrast_is_the_share_of_the_light_around() -> None:
    """One change of blue light on three greys, worked out by hand; a change of light alone is none of colour."""
    greys = torch.tensor([-0.6, 0.0, 0.6])[:, None, None, None].expand(3, 3, 16, 16)
    light = linear(greys)
    wanted = light + torch.tensor([0.0, 0.0, 0.01])[:, None, None]
    delta = 2 * torch.where(wanted > 0.0031308, 1.055 * wanted ** (1 / 2.4) - 0.055, 12.92 * wanted) - 1 - greys
    expected = 0.01 * (1 - 0.0722) / (light[:, 0, 0, 0] + 0.03)
    assert torch.allclose(losses.contrast(greys, delta), expected, rtol=1e-3)
    assert losses.contrast(greys, torch.full_like(greys, 0.05)).max() < 1e-5


def test_contrast_takes_the_light_nearby() -> None:
    """The same change on the dark and on the bright half of a picture."""
    x = torch.full((2, 3, 32, 64), 0.6)
    x[..., :32] = -0.6
    delta = torch.zeros_like(x)
    delta[0, 2, :, 8:24], delta[1, 2, :, 40:56] = 0.02, 0.02
    alone = [torch.full((1, 3, 32, 64), grey) for grey in (-0.6, 0.6)]
    seen = losses.contrast(x, delta)
    expected = torch.cat([losses.contrast(one, each[None]) for one, each in zip(alone, delta, strict=True)])
    assert torch.allclose(seen, expected, rtol=1e-3) and seen[0] > 1.5 * seen[1]


def test_contrast_can_be_lowered() -> None:
    rng = torch.Generator().manual_seed(0)
    delta = (0.05 * torch.randn(1, 3, 16, 16, generator=rng)).requires_grad_()
    x = torch.full((1, 3, 16, 16), -0.4)
    before = losses.contrast(x, delta)
    (slope,) = torch.autograd.grad(before.sum(), delta)
    assert losses.contrast(x, (delta - 0.2 * slope / slope.norm()).detach()) < 0.95 * before
    nothing = torch.zeros(1, 3, 16, 16, requires_grad=True)
    losses.contrast(torch.full_like(x, -1.0), nothing).sum().backward()
    assert nothing.grad is not None and nothing.grad.isfinite().all()
