"""Deepfake models as an adversary runs them, from their ONNX files, without torch.

Pictures are [B, 3, S, S] float32 in [-1, 1], S being the size that the model works at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dadfi_fast.deepfakes.edits import FAMILIES, Aim, edits_of
from dadfi_fast.deepfakes.session import load
from dadfi_fast.errors import WeightsError
from dadfi_fast.model_card import Card
from dadfi_fast.types import Float32

#: The family of classifiers; ONNX input "image" [B, 3, S, S], output "logits" [B, A].
CLASSIFIERS: Final = "attributes"


class DeepfakeModel:
    """An image-to-image model that a card names.

    Its ONNX file has the inputs "image" [B, 3, S, S] and the edit [B, D] (named as `Edits.takes` says), the output
    "fake".

    Args:
        card: of a family in `dadfi_fast.deepfakes.edits.FAMILIES`; its front matter has ``labels``, the attributes in
            the
            model's order.
        threads: CPU threads; all that there are where None.
        half: as in `dadfi_fast.deepfakes.session.load`.

    Raises:
        WeightsError: the file is missing, damaged or no model, or the card has no labels.
        BackendMissing: nothing that runs an ONNX model is installed.
    """

    def __init__(self, card: Card, *, threads: int | None = None, half: bool = False) -> None:
        assert card.family in FAMILIES, card.family
        card.verify()
        self.card, self.name, self.family, self.image_size = card, card.name, card.family, card.image_size
        self._edits = edits_of(card.family, card.extra, where=card.path)
        self.attributes, self.edit_names = self._edits.attributes, self._edits.names
        self._one_by_one = card.extra.get("batch") == 1
        self._run = load(card.file, threads=threads, half=half)

    def edits(self, labels: Float32) -> Float32:
        """The edits [E, B, D] asked of pictures with these labels [B, A] in {0, 1}; A as in `attributes`."""
        return self._edits(labels)

    def wanted(self, labels: Float32) -> list[Aim]:
        """For each of the E edits: the attribute that it aims at, and the value [B] that it should then have."""
        return self._edits.aims(labels)

    def fake(self, images: Float32, edit: Float32) -> Float32:
        """``images`` [B, 3, S, S] edited as ``edit`` [B, D] says; same shape, clamped to [-1, 1]."""
        assert images.shape[2:] == (self.image_size, self.image_size), images.shape
        if self._one_by_one:
            pairs = zip(np.split(images, len(images)), np.split(edit, len(edit)), strict=True)
            return np.concatenate([self._fake(image, chosen) for image, chosen in pairs])
        return self._fake(images, edit)

    def _fake(self, images: Float32, edit: Float32) -> Float32:
        return np.clip(self._run({"image": _ready(images), self._edits.takes: _ready(edit)}), -1, 1)


class AttributeModel:
    """Says which attributes a picture has: the edits asked of a photo start from them.

    Args and errors are those of `DeepfakeModel`; the family is `CLASSIFIERS`.
    """

    def __init__(self, card: Card, *, threads: int | None = None) -> None:
        assert card.family == CLASSIFIERS, card.family
        card.verify()
        self.card, self.image_size = card, card.image_size
        self.attributes = tuple(card.extra.get("labels", ()))
        if not self.attributes:
            raise WeightsError(f"{card.path} does not list the model's attributes (labels = [...])")
        self._run = load(card.file, threads=threads)

    def labels(self, images: Float32, names: Sequence[str], *, unknown_as: float | None = None) -> Float32:
        """Which of the attributes ``names`` [A] the pictures ``images`` [B, 3, S, S] have: [B, A] in {0, 1}.

        Args:
            unknown_as: the label of attributes that the classifier does not know; None refuses them.

        Raises:
            WeightsError: the classifier does not know one of them.
        """
        unknown = [name for name in names if name not in self.attributes]
        if unknown and unknown_as is None:
            raise WeightsError(f"{self.card.file} does not know {', '.join(unknown)}. Available: {self.attributes}")
        logits = self._run({"image": _ready(images)})
        predicted = np.full((len(images), len(names)), unknown_as or 0, np.float32)
        for column, name in enumerate(names):
            if name in self.attributes:
                predicted[:, column] = logits[:, self.attributes.index(name)] > 0
        return predicted


def _ready(array: Float32) -> Float32:
    return np.ascontiguousarray(array, dtype=np.float32)
