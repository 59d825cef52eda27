"""What every attack promises: a perturbation within its budget, whatever its method puts out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from dadfi_fast.types import Budget, Float32, UInt8

#: Pixels a side of the crops that an attack is given unless it has a size of its own.
CROP_SIZE: Final = 256


@dataclass
class Calls:
    """How often deepfake models were asked; a picture that goes through a model with one edit counts once."""

    gradients: int = 0  # forwards and backwards
    queries: int = 0  # forwards only


@dataclass(frozen=True, eq=False)
class FaceView:
    """A face as it is in its photo, and how its photo is written."""

    pixels: UInt8  # [side, side, 3], the square that the perturbation goes to
    subsampled: bool = False  # the file has half the resolution of colour
    grey: bool = False  # the file has no colour


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """How perturbations are refined."""

    steps: int  # of the ascent
    look: int  # JPEG quality (4:2:0) that a face may look like
    seed: int
    strength: float  # largest change on the [-1, 1] scale
    device: str  # cpu, cuda or cuda:N
    models: tuple[tuple[str, str], ...]  # name and sha256 of each


class Refiner(ABC):
    """Works on the perturbations that an attack has put out, with the photos at their own size before it."""

    @abstractmethod
    def __call__(self, faces: Sequence[FaceView], deltas: Float32) -> Float32:
        """Better ones than ``deltas`` [B, 3, S, S], one for each of ``faces``; same shape."""


class Attack(ABC):
    """Face crops to perturbations, under a budget."""

    #: Pixels a side of the crops that `protect` cuts for it.
    crop_size: int = CROP_SIZE
    #: What `protect` calls after it; None: nothing.
    refiner: Refiner | None = None

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.calls = Calls()  # what perturbing has cost until now
        self.spent = Calls()  # what it cost, once, to make the attack

    def aim(self, labels: Float32) -> Attack:
        """Say which attributes the pictures of the next call have; returns the attack itself.

        Args:
            labels: [B, A] in {0, 1}, A as in `dadfi_fast.deepfakes.torch_model.Target.edits`. The edits that an attack
                works against start from them; what asks no deepfake model needs none and takes no notice.
        """
        return self

    @abstractmethod
    def run(self, crops: Float32) -> Float32:
        """The perturbation of this method for ``crops``; it may exceed the budget, `__call__` brings it back."""

    @final
    def __call__(self, crops: Float32) -> Float32:
        """Perturb ``crops`` [B, 3, S, S] float32 in [-1, 1]; the same shape back, every entry within the budget."""
        delta = self.run(crops)
        assert delta.shape == crops.shape, f"{type(self).__name__} put out {delta.shape} for {crops.shape}"
        return self.budget.clip(delta)
