"""What every attack promises: its budget, and the same result from the same seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dadfi_fast.attacks.base import Attack
from dadfi_fast.attacks.cmua import Watermark
from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.attacks.noise import Noise
from dadfi_fast.backends.artifact import Artifact
from dadfi_fast.backends.torch import Torch
from dadfi_fast.types import Budget

Make = Callable[[Budget, Artifact], Attack]
PATTERN = np.random.default_rng(7).normal(0, 1, (3, 48, 48)).astype(np.float32)  # far beyond any budget

CASES: list[Make] = [
    pytest.param(lambda budget, artifact: GeneratorAttack(Torch(artifact), budget), id="generator"),
    pytest.param(lambda budget, artifact: Noise(budget, seed=1), id="noise"),
    pytest.param(lambda budget, artifact: Watermark(budget, PATTERN), id="watermark"),
]


@pytest.mark.parametrize("make", CASES)
@pytest.mark.parametrize("eps", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("size", [48, 64])
def test_stays_within_the_budget_and_uses_it(make: Make, eps: float, size: int, artifact: Artifact) -> None:
    crops = np.random.default_rng(0).uniform(-1, 1, (2, 3, size, size)).astype(np.float32)
    delta = make(Budget(eps), artifact)(crops)
    assert delta.shape == crops.shape and delta.dtype == np.float32
    assert 0.5 * eps < np.abs(delta).max() <= np.float32(eps)
    assert np.array_equal(delta, make(Budget(eps), artifact)(crops))


def test_strength_scales_the_perturbation(artifact: Artifact) -> None:
    crops = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    weak, trained = (GeneratorAttack(Torch(artifact), Budget(eps))(crops) for eps in (0.02, artifact.lim))
    np.testing.assert_allclose(weak, trained * 0.02 / artifact.lim, atol=1e-7)
