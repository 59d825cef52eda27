from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.faces.resample import resize, weights
from dadfi_fast.types import Float32


def picture(*shape: int) -> Float32:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


SIZES = [
    ((3, 128, 128), 64),  # by half
    ((2, 3, 300, 300), 128),  # a factor that is no whole number
    ((3, 97, 211), 64),  # neither square nor even
    ((3, 40, 40), 64),  # larger
    ((3, 64, 64), 64),  # the same
    ((3, 40, 300), 64),  # larger in one direction, smaller in the other
    ((3, 1, 1), 16),
    ((3, 31, 31), 1),
]


@pytest.mark.parametrize(("shape", "size"), SIZES, ids=str)
def test_it_is_torchs_antialiased_resize(shape: tuple[int, ...], size: int) -> None:
    torch = pytest.importorskip("torch")
    image = picture(*shape)
    batch = torch.from_numpy(image).reshape(-1, *shape[-3:])
    expected = torch.nn.functional.interpolate(
        batch, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
    # float32 sums in another order; one level of 255 is 7.8e-3
    np.testing.assert_allclose(resize(image, size), expected.numpy().reshape(*shape[:-2], size, size), atol=2e-6)


@pytest.mark.parametrize(("shape", "size"), SIZES, ids=str)
def test_every_pixel_is_a_weighted_mean(shape: tuple[int, ...], size: int) -> None:
    image = picture(*shape)
    out = resize(image, size)
    assert out.shape == (*shape[:-2], size, size) and out.dtype == np.float32
    assert image.min() - 1e-6 <= out.min() and out.max() <= image.max() + 1e-6
    np.testing.assert_allclose(resize(np.full(shape, 0.3, np.float32), size), 0.3, atol=1e-6)


@pytest.mark.parametrize(("source", "target"), [(300, 128), (40, 64), (7, 7), (1, 5)])
def test_weights_sum_to_one_and_are_never_negative(source: int, target: int) -> None:
    matrix = weights(source, target)
    assert matrix.shape == (target, source)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
