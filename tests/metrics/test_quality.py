"""Picture quality against closed forms and the plain reference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dadfi_fast.metrics.quality import STRIP, linf, psnr, ssim, ssim_reference


def picture(height: int = 24, width: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_linf_does_not_wrap_around() -> None:
    one, other = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    other[1, 1, 2] = 255
    other[0, 0, 0] = 7
    assert linf(one, other) == linf(other, one) == 255


@pytest.mark.parametrize(
    ("step", "decibels"),
    [
        (255, 0.0),
        (1, 20 * math.log10(255)),
        (6, 20 * math.log10(255 / 6)),
    ],
)
def test_psnr_of_a_constant_difference(step: int, decibels: float) -> None:
    one = np.zeros((5, 7, 3), np.uint8)
    assert psnr(one, one + np.uint8(step)) == pytest.approx(decibels)


def test_psnr_of_equal_pictures_is_infinite() -> None:
    assert psnr(picture(), picture()) == math.inf


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (24, 30),
        (11, 11),  # one window
        (11, 40),
        (STRIP + 10, 12),  # one full strip
        (STRIP + 11, 12),  # and one row of windows more
    ],
)
@pytest.mark.parametrize("noise", [1, 12, 200])
def test_ssim_agrees_with_its_definition(height: int, width: int, noise: int) -> None:
    one = picture(height, width)
    moved = one.astype(int) + np.random.default_rng(1).integers(-noise, noise + 1, one.shape)
    other = np.clip(moved, 0, 255).astype(np.uint8)
    assert ssim(one, other) == pytest.approx(ssim_reference(one, other), abs=1e-6)


def test_ssim_of_flat_pictures_has_a_closed_form() -> None:
    one, other = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 120, np.uint8)
    c1 = 2.55**2
    assert ssim(one, other) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1), abs=1e-9)


def test_ssim_of_equal_pictures_is_one() -> None:
    assert ssim(picture(), picture()) == pytest.approx(1.0)


def test_ssim_of_a_picture_smaller_than_its_window_is_not_a_number() -> None:
    assert math.isnan(ssim(picture(10, 40), picture(10, 40)))
    assert math.isnan(ssim_reference(picture(10, 40), picture(10, 40)))
