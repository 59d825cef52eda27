"""Which edits are asked of a deepfake model, and what its family takes them as. Needs no torch.

A picture's own labels are [B, A] in {0, 1}. Every edit aims at one attribute; E edits are [E, B, D], where D is what
the family takes: target labels (StarGAN), attribute differences (STGAN), a choice of style (StarGAN v2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np

from dadfi_fast.errors import WeightsError
from dadfi_fast.types import Float32

#: Attribute order of StarGAN's official five-attribute checkpoints.
ATTRIBUTES: Final = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
#: What cannot be together with an attribute, and is cleared when it is added (STGAN's official release).
CONFLICTS: Final = {
    "Bald": ("Bangs",),
    "Bangs": ("Bald",),
    "Mustache": ("No_Beard",),
    "No_Beard": ("Mustache",),
}
#: How far STGAN's official test goes with the attribute that is asked for: labels are +-0.5, this one is +-1.
EMPHASIS: Final = 2.0

#: The family of networks that `models add` took from ONNX files of the user's.
OWN: Final = "onnx"

#: An attribute's name, and its wanted value for each picture, [B] in {0, 1}.
Aim: TypeAlias = tuple[str, Float32]


@dataclass(frozen=True)
class Edits(ABC):
    """The edits of one model.

    Args:
        attributes: the labels that it starts from, in the order of A.
    """

    attributes: tuple[str, ...]
    #: The name of the model's second input in its ONNX file.
    takes: ClassVar[str]

    @property
    def names(self) -> tuple[str, ...]:
        """What the E edits are called."""
        return self.attributes

    @property
    def size(self) -> int:
        """D, the length of an edit."""
        return len(self.attributes)

    @abstractmethod
    def __call__(self, labels: Float32) -> Float32:
        """The edits [E, B, D] of pictures with ``labels`` [B, A]."""

    @abstractmethod
    def aims(self, labels: Float32) -> list[Aim]:
        """What each of the E edits should show."""


class Targets(Edits):
    """StarGAN: the labels that the picture is to have."""

    takes = "labels"

    def __call__(self, labels: Float32) -> Float32:
        return edits(labels, names=self.attributes)

    def aims(self, labels: Float32) -> list[Aim]:
        return [(name, target[:, i]) for i, (name, target) in enumerate(zip(self.names, self(labels), strict=True))]


class Differences(Edits):
    """STGAN: what is to be added and what taken away."""

    takes = "difference"

    def __call__(self, labels: Float32) -> Float32:
        return differences(labels, names=self.attributes)

    def aims(self, labels: Float32) -> list[Aim]:
        return [(name, 1 - labels[:, i]) for i, name in enumerate(self.names)]


@dataclass(frozen=True)
class Styles(Edits):
    """StarGAN v2: one of the K styles that the model keeps, as a one-hot vector.

    Args:
        styles: the styles' names, and the attribute that each of them shows with its value in {0, 1}.
    """

    styles: tuple[tuple[str, str, int], ...]
    takes = "edit"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.styles)

    @property
    def size(self) -> int:
        return len(self.styles)

    def __call__(self, labels: Float32) -> Float32:
        chosen = np.eye(self.size, dtype=np.float32)[:, None]
        return np.repeat(chosen, len(labels), axis=1)

    def aims(self, labels: Float32) -> list[Aim]:
        return [(attribute, np.full(len(labels), value, np.float32)) for _, attribute, value in self.styles]


@dataclass(frozen=True)
class Choices(Edits):
    """A network of the user's: one of the E edits that got their names when it was added, as a one-hot vector.

    What they show is not known: each aims at an attribute that is called as the edit is.

    Args:
        choices: the edits' names.
    """

    choices: tuple[str, ...]
    takes = "edit"

    @property
    def names(self) -> tuple[str, ...]:
        return self.choices

    @property
    def size(self) -> int:
        return len(self.choices)

    def __call__(self, labels: Float32) -> Float32:
        chosen = np.eye(self.size, dtype=np.float32)[:, None]
        return np.repeat(chosen, len(labels), axis=1)

    def aims(self, labels: Float32) -> list[Aim]:
        return [(name, np.ones(len(labels), np.float32)) for name in self.choices]


#: The edits of each family.
FAMILIES: Final[Mapping[str, type[Edits]]] = {
    "stargan": Targets,
    "stgan": Differences,
    "stgan-sac": Differences,
    "stargan2": Styles,
    OWN: Choices,
}


def edits_of(family: str, facts: Mapping[str, Any], *, where: object) -> Edits:
    """The edits of a model of ``family``, by the ``facts`` of its card.

    They are ``labels``; for StarGAN v2 also ``styles``, and ``edits`` for a network of the user's.

    Raises:
        WeightsError: the card does not name them; ``where`` says which card.
    """
    try:
        labels = tuple(facts["labels"])
        if family == OWN:
            return Choices(labels, tuple(facts["edits"]))
        if family != "stargan2":
            if not labels:
                raise KeyError("labels")
            return FAMILIES[family](labels)
        styles = tuple((s["name"], s["attribute"], int(s["value"])) for s in facts["styles"])
        return Styles(labels, styles)
    except KeyError as error:
        raise WeightsError(f"{where} does not list the model's attributes ({error} is missing)") from error


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


def inversions(labels: Float32, *, names: Sequence[str]) -> Float32:
    """One edit for each attribute (STGAN's official test): the attribute inverted; target labels [A, B, A].

    What cannot be together with an attribute that is added is cleared: other hair colours and baldness, `CONFLICTS`.
    """
    targets = np.repeat(labels[None], len(names), axis=0)
    for i, name in enumerate(names):
        targets[i, :, i] = 1 - labels[:, i]
        added = targets[i, :, i] == 1
        for j in _conflicts(names, name):
            targets[i, added, j] = 0
    return targets


def differences(
    labels: Float32,  # [B, A] in {0, 1}
    *,
    names: Sequence[str],  # [A]
) -> Float32:
    """`inversions` as the attribute differences that STGAN takes: [A, B, A] in [-1.5, 1.5]."""
    targets = inversions(labels, names=names) - np.float32(0.5)
    for i in range(len(names)):
        targets[i, :, i] *= EMPHASIS
    return targets - (labels - np.float32(0.5))


def _conflicts(names: Sequence[str], name: str) -> list[int]:
    hair = exclusive(names)
    i = names.index(name)
    others = [j for j in hair if j != i] if i in hair else []
    cleared = CONFLICTS.get(name, ()) if i not in hair else ("Bald",)
    return others + [names.index(other) for other in cleared if other in names]
