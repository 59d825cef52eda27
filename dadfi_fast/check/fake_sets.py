"""How far apart the fakes of the originals and those of the protected pictures are, as two sets of pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, TypeAlias

import numpy as np

from dadfi_fast.check.callbacks import Callback
from dadfi_fast.check.conditions import WRITTEN
from dadfi_fast.check.inception import Inception
from dadfi_fast.check.preprocess import Crop
from dadfi_fast.check.runner import Key
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.metrics.frechet import frechet_distance
from dadfi_fast.types import LEVELS, Float32, Float64, UInt8

#: The two sets, in parts.
_Sets: TypeAlias = tuple[list[Float32], list[Float32]]


class FakeSets(Callback):
    """Keeps the Inception features of the first ``count`` fakes of every model, and of what became of them.

    The two sets are of the same pictures and edits, rounded to levels, so that where nothing was protected their
    distance is 0, and not that of two samples.

    Args:
        network: gives the features; nothing is kept where it is None.
        count: fakes in each set.
        conditions: the names of those that are kept, each apart.
    """

    size: ClassVar = 8  # of crops that it does not look at

    def __init__(self, network: Inception | None, *, count: int, conditions: Sequence[str] = (WRITTEN.name,)) -> None:
        self._network, self._count, self._conditions = network, count, tuple(conditions)
        self._batch: list[str] = []
        self._kept: dict[tuple[str, str], _Sets] = defaultdict(lambda: ([], []))

    def crops(self, batch: Sequence[tuple[Key, Crop]]) -> None:
        self._batch = [condition for (_, condition), _ in batch]

    def fakes(self, model: DeepfakeModel, edit: int, fakes: Float32, broken: Float32, d_mask: Float64) -> None:
        for condition in self._conditions if self._network else ():
            room = self._count - self.n(model.name, condition)
            indices = [i for i, name in enumerate(self._batch) if name == condition][:room]
            if indices:
                for part, pictures in zip(self._kept[model.name, condition], (fakes, broken), strict=True):
                    part.append(self._network(levels(pictures[indices])))  # type: ignore[misc]

    def n(self, model: str, condition: str = WRITTEN.name) -> int:
        """Fakes in each of the two sets of a model."""
        return sum(map(len, self._kept[model, condition][0]))

    def distance(self, model: str, condition: str = WRITTEN.name) -> float:
        """The Frechet distance between the two sets of a model; NaN where they are not kept, or have less than two."""
        one, other = self._kept[model, condition]
        return frechet_distance(np.concatenate(one), np.concatenate(other)) if self.n(model, condition) > 1 else np.nan


def levels(images: Float32) -> UInt8:
    """Values in [-1, 1] (any shape) as levels 0-255, rounded: what a picture file holds."""
    rounded: UInt8 = np.rint((np.clip(images, -1, 1) + 1) * LEVELS).astype(np.uint8)
    return rounded
