"""Deepfake models as training sees them: differentiable, from the very weights that ``check`` runs.

A shipped model is one ONNX file; the names of its weights are those of the state dict, so that torch reads them from it
and there is one file to ship and one hash to state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dadfi_fast.card import Card
from dadfi_fast.deepfakes import stargan
from dadfi_fast.deepfakes.edits import ATTRIBUTES, edits
from dadfi_fast.errors import WeightsError


@dataclass(frozen=True)
class Target:
    """One deepfake model to be disturbed."""

    name: str
    model: stargan.StarGAN
    sha256: str
    attributes: Sequence[str] = ATTRIBUTES

    def fake(self, images: Tensor, edit: Tensor) -> Tensor:
        """Edit ``images`` [B, 3, H, W] in [-1, 1] towards labels ``edit`` [B, A]; [B, 3, S, S] in [-1, 1]."""
        return self.model.fake(images, edit)

    def edits(self, labels: Tensor) -> Tensor:
        """All edits of pictures that have ``labels`` [B, A]: target labels [E, B, A]."""
        return torch.from_numpy(edits(labels.numpy(), names=self.attributes))


def load_target(card: Card) -> Target:
    """The model of ``card`` with frozen weights.

    Raises:
        WeightsError: the file is not that of its card, or its family cannot be trained against.
    """
    card.verify()
    if card.family != "stargan":
        raise WeightsError(f"{card.name} is of family {card.family}; training knows the family stargan")
    generator = stargan.load_official(read_weights(card.file))
    model = stargan.StarGAN(generator, card.image_size).eval().requires_grad_(False)
    return Target(card.name, model, card.sha256, tuple(card.extra["labels"]))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in an ONNX file by their names in the state dict, as float32."""
    import onnx

    weights = {}
    for entry in onnx.load(path).graph.initializer:
        values = onnx.numpy_helper.to_array(entry)
        if np.issubdtype(values.dtype, np.floating):
            weights[entry.name.removesuffix(".f16")] = torch.from_numpy(values.astype(np.float32))
    return {name: value for name, value in weights.items() if "." in name}
