"""Encoders: networks whose output other networks work on. Needs no torch.

A latent diffusion editor sees only the latents of a photo, and a face swapper only an embedding of the person. The
output for a picture is a code [B, D]. Two codes are compared by d_code: their squared Euclidean distance over the
squared length of the first. For latents its root is the relative shift; for embeddings of length 1 it is 2 - 2 cos.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from dadfi_fast.deepfakes.edits import Aim, Edits
from dadfi_fast.deepfakes.session import Session, load
from dadfi_fast.model_card import Card
from dadfi_fast.types import Float32, Float64

#: Pictures that go through an encoder at once: at full resolution the first layers of latent encoders take 100 MB for
#: four of 256 px.
CHUNK: Final = 4
#: A code counts as broken from this d_code on: latents moved by their own length, or a cosine of 0.5.
BROKEN: Final = 1.0


@dataclass(frozen=True)
class Kind:
    """A family of encoders."""

    reads: str  # what a code stands for
    unit: bool  # whether codes have length 1
    role: str  # who uses such codes
    limit: str  # what a figure does not say

    @property
    def figure(self) -> str:
        """The key of the figure that people read: ``shift`` (relative) or ``cosine``."""
        return "cosine" if self.unit else "shift"

    @property
    def measure(self) -> str:
        """The name of that figure, in words."""
        return "cosine" if self.unit else "relative shift"

    @property
    def threshold(self) -> float:
        """The figure at which a code counts as broken: from this shift on, or down from this cosine."""
        return float(self.figures(np.array([BROKEN]))[0])

    def figures(self, d_code: Float64) -> Float64:
        """The figures of distances (any shape): the relative shift, or the cosine of the two codes."""
        return 1 - d_code / 2 if self.unit else np.sqrt(d_code)


#: The families of encoders.
ENCODERS: Final[Mapping[str, Kind]] = {
    "taesd": Kind(
        "latents",
        unit=False,
        role="the entrance of latent diffusion editors",
        limit="an editor itself was not measured",
    ),
    "mobilefacenet": Kind(
        "identity", unit=True, role="what face swappers read a person from", limit="a face swap itself was not measured"
    ),
}


class Unedited(Edits):
    """An encoder has no edits: a single empty one stands for its output."""

    takes = "edit"

    @property
    def names(self) -> tuple[str, ...]:
        return ("code",)

    @property
    def size(self) -> int:
        return 0

    def __call__(self, labels: Float32) -> Float32:
        return np.zeros((1, len(labels), 0), np.float32)

    def aims(self, labels: Float32) -> list[Aim]:
        return []


def code_distance(code: Float32, moved: Float32) -> Float64:
    """d_code [B] of two answers [B, D]."""
    one, other = code.astype(np.float64), moved.astype(np.float64)
    distance: Float64 = ((other - one) ** 2).sum(1) / (one**2).sum(1)
    return distance


class EncoderModel:
    """An encoder that a card names, as a user of its codes runs it, without torch.

    Its ONNX file has the input "image" [B, 3, S, S] and the output "code" [B, D]. Where the card names a ``decoder``,
    a second file has the input "code" and the output "image".

    Args:
        card: of a family in `ENCODERS`.
        threads: CPU threads; all that there are where None.

    Raises:
        WeightsError: a file is missing, damaged or no model.
        BackendMissing: nothing that runs an ONNX model is installed.
    """

    def __init__(self, card: Card, *, threads: int | None = None) -> None:
        assert card.family in ENCODERS, card.family
        card.verify()
        self.card, self.name, self.family, self.image_size = card, card.name, card.family, card.image_size
        self.kind = ENCODERS[card.family]
        self._run = load(card.file, threads=threads)
        self._decode = load(card.companion, threads=threads) if card.companion else None

    def encode(self, images: Float32) -> Float32:
        """The codes [B, D] of ``images`` [B, 3, S, S] in [-1, 1]."""
        assert images.shape[2:] == (self.image_size, self.image_size), images.shape
        return _in_parts(self._run, "image", images)

    @property
    def decodes(self) -> bool:
        """Whether it has a decoder."""
        return self._decode is not None

    def decode(self, codes: Float32) -> Float32:
        """The pictures [B, 3, S, S] in [-1, 1] that the decoder makes of ``codes`` [B, D]."""
        assert self._decode is not None, self.name
        return np.clip(_in_parts(self._decode, "code", codes), -1, 1)


def _in_parts(run: Session, name: str, array: Float32) -> Float32:
    """What ``run`` gives for ``array``, `CHUNK` rows at a time."""
    ready = np.ascontiguousarray(array, dtype=np.float32)
    return np.concatenate([run({name: ready[i : i + CHUNK]}) for i in range(0, len(ready), CHUNK)])
