"""Which edits are asked of a deepfake model: target labels from a picture's own labels. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dadfi_fast.types import Float32

#: Attribute order of StarGAN's official five-attribute checkpoints.
ATTRIBUTES: Final = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")


def exclusive(names: Sequence[str]) -> list[int]:
    """The places of the attributes of which a picture has one at most: the hair colours."""
    return [i for i, name in enumerate(names) if name.endswith("_Hair")]


def edits(
    labels: Float32,  # [B, A] in {0, 1}, the attributes that the pictures have
    *,
    names: Sequence[str] = ATTRIBUTES,  # [A]
) -> Float32:
    """One edit for each attribute (``create_labels`` of StarGAN's official release): target labels [A, B, A].

    A hair colour is chosen and the other hair colours cleared; every other attribute is flipped.
    """
    assert labels.ndim == 2 and labels.shape[1] == len(names), (labels.shape, names)
    hair = exclusive(names)
    targets = np.repeat(labels[None], len(names), axis=0)
    for i in range(len(names)):
        if i in hair:
            targets[i][:, hair] = 0
            targets[i, :, i] = 1
        else:
            targets[i, :, i] = 1 - labels[:, i]
    return targets
