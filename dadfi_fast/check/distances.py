"""Crops through the deepfake models, and how far apart the two fakes are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dadfi_fast.check.preprocess import Crop
from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
from dadfi_fast.metrics.defence import edit_mask, mask_distance, pixel_distance
from dadfi_fast.types import Float32, Float64

#: Shown the fakes of a batch as they are made: the model, the number of the edit, the fakes of the originals and those
#: of the protected pictures, both [F, 3, S, S], and their d_mask [F].
See: TypeAlias = Callable[[DeepfakeModel, int, Float32, Float32, Float64], object]


@dataclass(frozen=True, eq=False)
class Distances:
    """Of F faces under E edits of one model; see `dadfi_fast.metrics.defence`."""

    pix: Float64  # [F, E] between the two fakes
    mask: Float64  # [F, E] the same where the clean edit changed the picture; NaN where it changed nothing
    original: Float64  # [F, E] between the fake of the protected picture and the original: Eq. 19, as a mean
    null: Float64  # [F, E] between the fake of the original and the original: what Eq. 19 gives without protection

    @classmethod
    def join(cls, parts: Sequence[Distances]) -> Distances:
        """The faces of all ``parts`` (at least one), in order."""
        pick = ("pix", "mask", "original", "null")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in pick))

    def face(self, i: int) -> Distances:
        """Those of face ``i`` alone."""
        row = slice(i, i + 1)
        return Distances(self.pix[row], self.mask[row], self.original[row], self.null[row])


def measure(
    crops: Sequence[Crop],
    *,
    models: Sequence[DeepfakeModel],
    classifier: AttributeModel,
    see: See | None = None,
) -> dict[str, Distances]:
    """Run a batch of crops through every model; what comes back has the models' names.

    The edits start from the attributes that the classifier sees in the originals; one that it does not know counts as
    absent.

    Args:
        see: called for every model and edit with the fakes, which are not kept otherwise.
    """
    seen = _stack([crop.original for crop in crops], classifier.image_size)
    distances = {}
    for model in models:
        x = _stack([crop.original for crop in crops], model.image_size)
        x_adv = _stack([crop.protected for crop in crops], model.image_size)
        labels = classifier.labels(seen, model.attributes, unknown_as=0)
        distances[model.name] = _distances(model, x, x_adv, labels, see)
    return distances


def _distances(model: DeepfakeModel, x: Float32, x_adv: Float32, labels: Float32, see: See | None) -> Distances:
    columns = []
    for number, edit in enumerate(model.edits(labels)):
        y, broken = model.fake(x, edit), model.fake(x_adv, edit)
        pix, mask = pixel_distance(y, broken), mask_distance(y, broken, edit_mask(x, y))
        columns.append((pix, mask, pixel_distance(x, broken), pixel_distance(x, y)))
        if see is not None:
            see(model, number, y, broken, mask)
    return Distances(*(np.stack(column, axis=1) for column in zip(*columns, strict=True)))


def _stack(sides: Sequence[Mapping[int, Float32]], size: int) -> Float32:
    return np.stack([side[size] for side in sides])
