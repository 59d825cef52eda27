"""Deepfake models as an adversary runs them, from their ONNX files, without torch.

Pictures are [B, 3, S, S] float32 in [-1, 1], S being the size that the model works at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dadfi_fast.card import Card
from dadfi_fast.deepfakes import edits as edit_rules
from dadfi_fast.deepfakes.runtime import load
from dadfi_fast.errors import WeightsError
from dadfi_fast.types import Float32

#: Families whose edits are target labels; ONNX inputs "image" [B, 3, S, S] and "labels" [B, A], output "fake".
FAMILIES: Final = ("stargan",)
#: The family of classifiers; ONNX input "image" [B, 3, S, S], output "logits" [B, A].
CLASSIFIERS: Final = "attributes"


class DeepfakeModel:
    """An image-to-image model that a card names.

    Args:
        card: of a family in `FAMILIES`; its front matter has ``labels``, the attributes in the model's order.
        threads: processor threads; all that there are where None.

    Raises:
        WeightsError: the file is missing, damaged or no model, or the card has no labels.
        BackendMissing: nothing that runs an ONNX model is installed.
    """

    def __init__(self, card: Card, *, threads: int | None = None) -> None:
        assert card.family in FAMILIES, card.family
        card.verify()
        self.card, self.name, self.image_size = card, card.name, card.image_size
        self.attributes = _labels(card)
        self._run = load(card.file, threads=threads)

    def edits(self, labels: Float32) -> Float32:
        """The edits [E, B, A] asked of pictures with these labels [B, A] in {0, 1}; A as in `attributes`."""
        return edit_rules.edits(labels, names=self.attributes)

    def fake(self, images: Float32, edit: Float32) -> Float32:
        """``images`` [B, 3, S, S] edited towards the labels ``edit`` [B, A]; same shape, clamped to [-1, 1]."""
        assert images.shape[2:] == (self.image_size, self.image_size), images.shape
        return np.clip(self._run({"image": _ready(images), "labels": _ready(edit)}), -1, 1)


class AttributeModel:
    """Says which attributes a picture has: the edits asked of a photo start from them.

    Args and errors are those of `DeepfakeModel`; the family is `CLASSIFIERS`.
    """

    def __init__(self, card: Card, *, threads: int | None = None) -> None:
        assert card.family == CLASSIFIERS, card.family
        card.verify()
        self.card, self.image_size = card, card.image_size
        self.attributes = _labels(card)
        self._run = load(card.file, threads=threads)

    def labels(self, images: Float32, names: Sequence[str]) -> Float32:
        """Which of the attributes ``names`` [A] the pictures ``images`` [B, 3, S, S] have: [B, A] in {0, 1}.

        Raises:
            WeightsError: the classifier does not know one of them.
        """
        unknown = [name for name in names if name not in self.attributes]
        if unknown:
            raise WeightsError(f"{self.card.file} does not know {', '.join(unknown)}; it knows {self.attributes}")
        logits = self._run({"image": _ready(images)})
        return (logits[:, [self.attributes.index(name) for name in names]] > 0).astype(np.float32)


def _labels(card: Card) -> tuple[str, ...]:
    labels = card.extra.get("labels")
    if not labels:
        raise WeightsError(f"{card.path} does not say which attributes the model knows (labels = [...])")
    return tuple(labels)


def _ready(array: Float32) -> Float32:
    return np.ascontiguousarray(array, dtype=np.float32)
