"""Ours: the trained generator, run by a backend."""

from __future__ import annotations

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.backends.base import Backend
from dadfi_fast.types import Budget, Float32


class GeneratorAttack(Attack):
    """One forward pass; a strength other than the trained one scales the perturbation."""

    def __init__(self, backend: Backend, budget: Budget) -> None:
        super().__init__(budget)
        self.backend, self.scale = backend, np.float32(budget.eps / backend.lim)
        self.crop_size = backend.generator_file.image_size

    def run(self, crops: Float32) -> Float32:
        delta = self.backend(crops)
        return delta if self.scale == 1 else delta * self.scale
