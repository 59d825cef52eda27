"""The Frechet distance against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.metrics.frechet import frechet_distance
from dadfi_fast.types import Float64

RNG = np.random.default_rng(5)


def exact(n: int, covariance: Float64) -> Float64:
    """``n`` samples whose mean is 0 and whose covariance is this one, exactly."""
    d = len(covariance)
    centred = RNG.normal(size=(n, d))
    centred -= centred.mean(axis=0)
    orthonormal = np.linalg.qr(centred)[0] * np.sqrt(n - 1)
    samples: Float64 = orthonormal @ np.linalg.cholesky(covariance).T
    return samples


def rotated(values: list[float]) -> Float64:
    turn = np.linalg.qr(RNG.normal(size=(len(values), len(values))))[0]
    matrix: Float64 = turn @ np.diag(values) @ turn.T
    return matrix


def root(matrix: Float64) -> Float64:
    values, vectors = np.linalg.eigh(matrix)
    result: Float64 = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    return result


WIDE, NARROW = rotated([4.0, 1.0, 0.25]), rotated([1.0, 9.0, 0.5])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (np.eye(3), np.eye(3), 0.0),
        (np.eye(3), 4 * np.eye(3), 3.0),  # d (s1 - s2)^2
        (np.diag([1.0, 4.0, 9.0]), np.diag([16.0, 1.0, 9.0]), 10.0),  # the sum of (s1 - s2)^2
        # neither commutes with the other: Tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2)
        (WIDE, NARROW, np.trace(WIDE + NARROW - 2 * root(root(WIDE) @ NARROW @ root(WIDE)))),
    ],
    ids=["equal", "scaled", "diagonal", "rotated"],
)
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_gaussians_with_known_moments(one: Float64, other: Float64, expected: float, shift: float) -> None:
    distance = frechet_distance(exact(50, one), exact(80, other) + np.array([shift, 0, 2 * shift]))
    assert distance == pytest.approx(expected + 5 * shift**2, abs=1e-9)


def test_fewer_samples_than_features() -> None:
    """As in practice: 2,048 features of some hundred pictures."""
    one, other = RNG.normal(size=(6, 20)), 2 * RNG.normal(size=(9, 20)) + 1
    c1, c2 = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    roots = np.sqrt(np.clip(np.linalg.eigvals(c1 @ c2).real, 0, None)).sum()
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(c1 + c2) - 2 * roots
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(40, 8), (8, 40)])
def test_a_set_has_no_distance_from_itself(shape: tuple[int, int]) -> None:
    features = RNG.normal(1000, 1, shape).astype(np.float32)
    shuffled = features[RNG.permutation(len(features))]
    assert 0 <= frechet_distance(features, shuffled) < 1e-6


def test_float32_far_from_zero_is_worked_on_in_float64() -> None:
    far = (4096 + RNG.integers(-128, 129, (200, 4)) / 64).astype(np.float32)  # steps that float32 has there
    assert frechet_distance(far, far + np.float32(2)) == pytest.approx(4 * 2**2, rel=1e-6)
