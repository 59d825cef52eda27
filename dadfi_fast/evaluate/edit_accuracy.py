"""Whether a deepfake model is worth defending against: do its edits show what was asked for?"""

from __future__ import annotations

import numpy as np

from dadfi_fast.deepfakes.portable import AttributeModel, DeepfakeModel
from dadfi_fast.types import LEVELS, Float32, UInt8


def edit_accuracy(
    model: DeepfakeModel, judge: AttributeModel, pixels: UInt8, labels: Float32, *, batch: int = 64
) -> dict[str, float]:
    """The share of edited pictures that ``judge`` gives the attribute that was asked for, by attribute.

    Args:
        pixels: [N, 3, S, S] uint8, S being the size of ``model`` and ``judge``.
        labels: [N, A] in {0, 1}, what the pictures have; only pictures that an edit changes are counted for it.
    """
    assert model.image_size == judge.image_size == pixels.shape[-1]
    names = model.attributes
    right, asked = np.zeros(len(names)), np.zeros(len(names))
    for start in range(0, len(pixels), batch):
        x = pixels[start : start + batch].astype(np.float32) / np.float32(LEVELS) - np.float32(1)
        own = labels[start : start + batch]
        for i, target in enumerate(model.edits(own)):
            changed = own[:, i] != target[:, i]
            shown = judge.labels(model.fake(x, target), names)[:, i]
            right[i] += (shown == target[:, i])[changed].sum()
            asked[i] += changed.sum()
    return {name: round(float(r / a), 4) if a else float("nan") for name, r, a in zip(names, right, asked, strict=True)}
