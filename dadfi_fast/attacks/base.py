"""What every attack promises: a perturbation within its budget, whatever its method puts out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

from dadfi_fast.types import Budget, Float32


class Attack(ABC):
    """Face crops to perturbations, under a budget."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    @abstractmethod
    def run(self, crops: Float32) -> Float32:
        """The perturbation of this method for ``crops``; it may exceed the budget, `__call__` brings it back."""

    @final
    def __call__(self, crops: Float32) -> Float32:
        """Perturb ``crops`` [B, 3, S, S] float32 in [-1, 1]; the same shape back, every entry within the budget."""
        delta = self.run(crops)
        assert delta.shape == crops.shape, f"{type(self).__name__} put out {delta.shape} for {crops.shape}"
        return self.budget.clip(delta)
