"""The differentiable metrics against the packages that they follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dadfi_fast.metrics import differentiable, perceptual
from dadfi_fast.metrics.visibility import as_jpeg
from dadfi_fast.types import UInt8

Change = Callable[[UInt8], UInt8]


def picture(height: int, width: int) -> UInt8:
    """Smooth shades, edges and some noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width] / 24.0
    smooth = np.stack([120 + 60 * np.sin(rows + c) * np.cos(columns) for c in range(3)], axis=2)
    smooth[height // 3 : height // 2, width // 4 : width // 2] += 50
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def tensor(pixels: UInt8) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def stripes(pixels: UInt8) -> UInt8:
    wave = 5 * np.sign(np.sin(np.arange(pixels.shape[1]) / 4))[None, :, None] * np.array([1, -1, 1])
    return np.clip(pixels + wave, 0, 255).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "jpeg 30": lambda p: as_jpeg(p, 30),
    "jpeg 90": lambda p: as_jpeg(p, 90),
    "coloured stripes": stripes,
    "nothing": lambda p: p,
}


@pytest.mark.parametrize("size", [(264, 256), (299, 267), (75, 51)], ids=str)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_like_the_packages(change: Change, size: tuple[int, int]) -> None:
    one = picture(*size)
    other = change(one)
    ours = (
        differentiable.flip(tensor(one), tensor(other)).item(),
        differentiable.ssimulacra2(tensor(one), tensor(other)).item(),
    )
    assert ours[0] == pytest.approx(perceptual.flip(one, other), rel=2e-3, abs=1e-4)
    assert ours[1] == pytest.approx(perceptual.ssimulacra2(one, other), abs=0.2)


@pytest.mark.parametrize("metric", [differentiable.flip, differentiable.ssimulacra2])
def test_gradients_are_finite_and_point_the_right_way(metric: Callable[[Tensor, Tensor], Tensor]) -> None:
    one = tensor(picture(64, 64))
    for other in (one.clone(), tensor(stripes(picture(64, 64)))):
        other.requires_grad_()
        before = metric(one, other)
        (slope,) = torch.autograd.grad(before.sum(), other)
        assert slope.isfinite().all()
    better = -1 if metric is differentiable.flip else 1
    with torch.no_grad():
        after = metric(one, other + better * 0.01 * slope / slope.abs().max())
    assert better * (after - before) > 0


def test_a_larger_picture_is_seen_from_nearer() -> None:
    one, other = tensor(picture(64, 64)), tensor(stripes(picture(64, 64)))
    near, far = (differentiable.flip(one, other, pixels_a_degree=p) for p in (20.0, 67.0))
    assert near > far


def test_pairs_do_not_mix() -> None:
    one = torch.cat([tensor(picture(64, 64))] * 2)
    other = torch.cat([one[:1], tensor(stripes(picture(64, 64)))])
    for metric in (differentiable.flip, differentiable.ssimulacra2):
        together = metric(one, other)
        apart = torch.cat([metric(one[i : i + 1], other[i : i + 1]) for i in range(2)])
        torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)
