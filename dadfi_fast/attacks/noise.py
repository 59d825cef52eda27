"""The control: uniform noise within the budget. What it achieves, any change of the picture achieves."""

from __future__ import annotations

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.types import Budget, Float32


class Noise(Attack):
    """Independent uniform noise in [-eps, eps] for every value; the same seed gives the same noise."""

    def __init__(self, budget: Budget, *, seed: int = 0) -> None:
        super().__init__(budget)
        self._rng = np.random.default_rng(seed)

    def run(self, crops: Float32) -> Float32:
        return self._rng.uniform(-self.budget.eps, self.budget.eps, crops.shape).astype(np.float32)
