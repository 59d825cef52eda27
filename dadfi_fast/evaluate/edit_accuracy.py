"""Whether a deepfake model is worth defending against: do its edits show what was asked for?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dadfi_fast.deepfakes.edits import Aim
from dadfi_fast.deepfakes.onnx_model import AttributeModel
from dadfi_fast.faces.resample import resize
from dadfi_fast.types import LEVELS, Float32, UInt8

Bool: TypeAlias = NDArray[np.bool_]


class Editing(Protocol):
    """What is used of a model here; see `dadfi_fast.deepfakes.onnx_model.DeepfakeModel`, which is one."""

    @property
    def image_size(self) -> int:
        """S, in pixels."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """The labels that edits start from, in the order of A."""

    @property
    def edit_names(self) -> tuple[str, ...]:
        """What the E edits are called."""

    def edits(self, labels: Float32) -> Float32:
        """The edits [E, B, D] asked of pictures with ``labels`` [B, A]."""

    def wanted(self, labels: Float32) -> list[Aim]:
        """What each of the E edits should show."""

    def fake(self, images: Float32, edit: Float32) -> Float32:
        """``images`` [B, 3, S, S] in [-1, 1] edited as ``edit`` [B, D] says; same shape and range."""


@dataclass(frozen=True)
class Hits:
    """How often the judge sees what was asked for."""

    shown: int = 0  # pictures in which it does
    asked: int = 0  # pictures that count

    def __add__(self, other: Hits) -> Hits:
        return Hits(self.shown + other.shown, self.asked + other.asked)

    @property
    def share(self) -> float:
        """``shown / asked``; NaN where nothing was asked for."""
        return self.shown / self.asked if self.asked else float("nan")


def asks(aim: Aim, own: Float32) -> Bool:
    """For which pictures an edit counts, [B]: those that have another value (``own`` [B] in {0, 1}) than it aims at.

    A hair colour counts only where it is added: all families add one, but only STGAN can be asked to take one away, and
    what should come instead nobody says.
    """
    attribute, target = aim
    counts: Bool = own != target
    return counts & (target == 1) if attribute.endswith("_Hair") else counts


def hits(judge: AttributeModel, pictures: Float32, aim: Aim, own: Float32) -> Hits:
    """What ``judge`` sees in ``pictures`` [B, 3, S, S] in [-1, 1], resized to its size, of an edit's aim.

    Args:
        own: [B] in {0, 1}, the value of the attribute before the edit.

    Nothing is counted of an attribute that the judge does not know.
    """
    attribute, target = aim
    counts = asks(aim, own)
    if attribute not in judge.attributes or not counts.any():
        return Hits()
    seen = judge.labels(resize(pictures[counts], judge.image_size), [attribute])[:, 0]
    return Hits(int((seen == target[counts]).sum()), int(counts.sum()))


def edit_accuracy(
    model: Editing, judge: AttributeModel, pixels: UInt8, labels: Float32, *, batch: int = 64
) -> dict[str, float]:
    """The share of edited pictures that ``judge`` gives the attribute that was asked for, by edit; four decimals.

    Args:
        pixels: [N, 3, S, S] uint8, S being the size of ``model``; they are resized for a judge of another size.
        labels: [N, A] in {0, 1}, what the pictures have; `asks` says which pictures count for an edit.

    NaN where no picture counts, or the attribute is none of the judge's or of the model's labels.
    """
    assert model.image_size == pixels.shape[-1], (model.image_size, pixels.shape)
    hits_by_edit = [Hits()] * len(model.edit_names)
    for start in range(0, len(pixels), batch):
        x, own = scaled(pixels[start : start + batch]), labels[start : start + batch]
        for i, (edit, aim) in enumerate(zip(model.edits(own), model.wanted(own), strict=True)):
            if aim[0] in model.attributes:
                hits_by_edit[i] += hits(judge, model.fake(x, edit), aim, own[:, model.attributes.index(aim[0])])
    return {name: round(each.share, 4) for name, each in zip(model.edit_names, hits_by_edit, strict=True)}


def scaled(pixels: UInt8) -> Float32:
    """Levels 0-255 (any shape) as float32 in [-1, 1]."""
    return pixels.astype(np.float32) / np.float32(LEVELS) - np.float32(1)
