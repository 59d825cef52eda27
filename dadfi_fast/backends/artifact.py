"""A trained generator on disk: its files, its hash and the bound that it was trained to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dadfi_fast.card import Card, find_card, read_card
from dadfi_fast.errors import UsageError, WeightsError

DEFAULT = "generator-s"


@dataclass(frozen=True)
class Artifact:
    """One generator. ``onnx`` serves every backend but torch, which reads ``safetensors``."""

    name: str
    onnx: Path
    safetensors: Path | None
    sha256: str  # of ``onnx``
    lim: float  # bound of the perturbation on the [-1, 1] scale
    preset: str


def load_artifact(name: str = DEFAULT) -> Artifact:
    """The generator called ``name`` among those that ship, or the one at a path ``FILE.onnx`` with its card beside it.

    Raises:
        UsageError: there is no such generator, or no card ``FILE.md`` beside the file.
        WeightsError: the weights are missing or not those of the card.
    """
    card = _card_at(Path(name)) if name.endswith(".onnx") else find_card(name, family="generator")
    card.verify()
    safetensors = card.file.with_suffix(".safetensors")
    try:
        lim, preset = float(card.extra["lim"]), str(card.extra["preset"])
    except KeyError as error:
        raise WeightsError(f"{card.path} does not state {error}; a generator's card must") from error
    return Artifact(card.name, card.file, safetensors if safetensors.is_file() else None, card.sha256, lim, preset)


def _card_at(onnx: Path) -> Card:
    path = onnx.with_suffix(".md")
    if not path.is_file():
        raise UsageError(f"{onnx} has no card {path.name} beside it; dadfi-fast export writes both")
    return read_card(path)
