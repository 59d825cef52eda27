"""Watchers: what is shown the pictures of a check while they are there, since the check itself keeps figures only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from dadfi_fast.check.preprocess import Crop
from dadfi_fast.check.runner import Key
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.types import Float32, Float64


class Callback(ABC):
    """Looks on; what it keeps must not grow without bound. A check without watchers does nothing for them."""

    #: Pixels a side at which it wants the crops, besides the sizes of the models.
    size: ClassVar[int]

    @abstractmethod
    def crops(self, batch: Sequence[tuple[Key, Crop]]) -> None:
        """A batch of faces, before any model has seen it."""

    @abstractmethod
    def fakes(self, model: DeepfakeModel, edit: int, fakes: Float32, broken: Float32, d_mask: Float64) -> None:
        """The fakes of the batch that came last, by one model and edit.

        Args:
            model: what made them.
            edit: its number in `DeepfakeModel.edit_names`.
            fakes: of the originals, [F, 3, S, S] in [-1, 1].
            broken: of the protected pictures, likewise.
            d_mask: [F], NaN where the edit changed nothing.
        """


def show(
    watchers: Iterable[Callback], model: DeepfakeModel, edit: int, fakes: Float32, broken: Float32, d_mask: Float64
) -> None:
    """Show fakes to all ``watchers``."""
    for watch in watchers:
        watch.fakes(model, edit, fakes, broken, d_mask)
