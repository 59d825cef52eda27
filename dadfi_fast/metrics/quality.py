"""How much of a protection people can see: Linf in levels, PSNR and SSIM, on uint8 pictures [H, W, 3]."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Final, TypeAlias

import cv2
import numpy as np

from dadfi_fast.types import Float64, UInt8

_Mean: TypeAlias = Callable[[Float64], Float64]

#: Window of SSIM: 11 x 11 Gaussian, sigma 1.5 (Wang et al., IEEE TIP 2004).
WINDOW: Final = 11
SIGMA: Final = 1.5
#: Rows of windows that are worked on at once: a picture of 200 million pixels must not be held in float64.
STRIP: Final = 256
_C1: Final = (0.01 * 255) ** 2
_C2: Final = (0.03 * 255) ** 2


def linf(one: UInt8, other: UInt8) -> int:
    """The largest difference of any channel of any pixel, in levels (0-255)."""
    _same_shape(one, other)
    return int(cv2.norm(one, other, cv2.NORM_INF))


def psnr(one: UInt8, other: UInt8) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels, peak 255; infinite where nothing differs."""
    _same_shape(one, other)
    mse = float(cv2.norm(one, other, cv2.NORM_L2SQR)) / one.size
    return 10 * math.log10(255**2 / mse) if mse else math.inf


def ssim(one: UInt8, other: UInt8) -> float:
    """Structural similarity in [-1, 1]: mean over the channels and the places where the whole window fits.

    NaN where a side is shorter than the window. Agrees with `ssim_reference` to 1e-6.
    """
    _same_shape(one, other)
    if min(one.shape[:2]) < WINDOW:
        return math.nan
    inside = slice(WINDOW // 2, -(WINDOW // 2))
    total, places = 0.0, int(one.shape[0]) - WINDOW + 1
    for top in range(0, places, STRIP):
        rows = slice(top, min(top + STRIP, places) + WINDOW - 1)
        x, y = one[rows].astype(np.float64), other[rows].astype(np.float64)
        total += float(_similarity(x, y, lambda image: _blur(image)[inside, inside]).sum())
    return total / (places * (int(one.shape[1]) - WINDOW + 1) * 3)


def ssim_reference(one: UInt8, other: UInt8) -> float:
    """`ssim`, written as its definition: every window weighted and summed on its own, in float64. Slow."""
    _same_shape(one, other)
    if min(one.shape[:2]) < WINDOW:
        return math.nan
    window = np.outer(_gaussian(), _gaussian())

    def weighted(image: Float64) -> Float64:
        places = np.lib.stride_tricks.sliding_window_view(image, (WINDOW, WINDOW), axis=(0, 1))
        total: Float64 = np.einsum("hwcij,ij->hwc", places, window)
        return total

    return float(_similarity(one.astype(np.float64), other.astype(np.float64), weighted).mean())


def _similarity(x: Float64, y: Float64, mean: _Mean) -> Float64:
    """The SSIM map of Wang et al., Eq. 13, with ``mean`` as the local mean."""
    mx, my = mean(x), mean(y)
    xx, yy, xy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    numerator = (2 * mx * my + _C1) * (2 * xy + _C2)
    ratio: Float64 = numerator / ((mx * mx + my * my + _C1) * (xx + yy + _C2))
    return ratio


def _blur(image: Float64) -> Float64:
    kernel = _gaussian()
    return cv2.sepFilter2D(image, cv2.CV_64F, kernel, kernel)  # type: ignore[return-value]


@functools.cache
def _gaussian() -> Float64:
    """The window's one-dimensional factor [11]; sums to 1."""
    weights: Float64 = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    weights /= weights.sum()
    return weights


def _same_shape(one: UInt8, other: UInt8) -> None:
    assert one.shape == other.shape and one.ndim == 3, (one.shape, other.shape)
