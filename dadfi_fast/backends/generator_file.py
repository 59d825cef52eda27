"""A trained generator on disk: its files, its hash and the bound that it was trained to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dadfi_fast.errors import UsageError, WeightsError
from dadfi_fast.model_card import Card, find_card, read_card

DEFAULT = "generator-s"
#: Pixels a side of a crop where a card says 0: any size.
IMAGE_SIZE: Final = 256
#: The metadata of an ONNX file that say that it has a gate.
GATED: Final = "dadfi.gated"


@dataclass(frozen=True)
class Shape:
    """What `dadfi_fast.models.generator.Generator` is built from."""

    preset: str
    lim: float  # bound of the perturbation on the [-1, 1] scale
    gated: bool

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata that its ONNX file carries."""
        gate = {GATED: "true"} if self.gated else {}
        return {"dadfi.lim": str(self.lim), "dadfi.preset": self.preset, "dadfi.range": "[-1, 1]"} | gate


@dataclass(frozen=True)
class GeneratorFile:
    """One generator. ``onnx`` serves every backend but torch, which reads ``safetensors``."""

    name: str
    onnx: Path
    safetensors: Path | None
    sha256: str  # of ``onnx``
    lim: float  # bound of the perturbation on the [-1, 1] scale
    preset: str
    image_size: int = IMAGE_SIZE  # pixels a side of the crops it is given
    gated: bool = False  # whether it has a gate (`dadfi_fast.models.generator.gate`)


def load_generator_file(name: str = DEFAULT) -> GeneratorFile:
    """The generator called ``name`` among those that ship, or the one at a path with its card ``FILE.md`` beside it.

    Args:
        name: a name, ``FILE.onnx``, or ``FILE.safetensors`` with ``FILE.onnx`` beside it.

    Raises:
        UsageError: there is no such generator, no card beside the file, or no ONNX file.
        WeightsError: the weights are missing or not those of the card.
    """
    card = generator_card(name)
    if card.file.suffix != ".onnx":
        export = f"dadfi-fast export --to onnx --generator {card.file}"
        raise UsageError(f"{card.file.name} contains weights only, but an ONNX file is needed. Export it: {export}")
    safetensors = card.file.with_suffix(".safetensors")
    shape = stated(card)
    weights, size = safetensors if safetensors.is_file() else None, card.image_size or IMAGE_SIZE
    return GeneratorFile(card.name, card.file, weights, card.sha256, shape.lim, shape.preset, size, shape.gated)


def generator_card(name: str) -> Card:
    """The card of a generator, by name or path (as `load_generator_file` takes them), with its weights verified.

    Raises:
        UsageError: there is no such generator, or no card beside the file.
        WeightsError: the weights are missing or not those of the card.
    """
    card = _card_at(Path(name)) if name.endswith((".onnx", ".safetensors")) else find_card(name, family="generator")
    card.verify()
    return card


def stated(card: Card) -> Shape:
    """What a generator's card must state: the bound, the preset, and whether it has a gate (no, if it is silent).

    Raises:
        WeightsError: it does not.
    """
    gated = card.extra.get("gated", False)
    if not isinstance(gated, bool):
        raise WeightsError(f"{card.path} must state gated as true or false, not {gated!r}")
    try:
        return Shape(str(card.extra["preset"]), float(card.extra["lim"]), gated)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{card.path} must state lim (a number) and preset: {error!r}") from error


def _card_at(file: Path) -> Card:
    path = file.with_suffix(".md")
    if not path.is_file():
        raise UsageError(f"{file} has no card {path.name} beside it; dadfi-fast export writes both")
    return read_card(path)
