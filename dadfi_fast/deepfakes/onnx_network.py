"""A network that somebody else trained, from its ONNX file to one of our deepfake models: checked, tried, rewritten."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from dadfi_fast.deepfakes.edits import OWN
from dadfi_fast.deepfakes.onnx_guard import read_network
from dadfi_fast.deepfakes.onnx_interface import Interface, NetworkWishes, Values, find_interface
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.deepfakes.onnx_trial import find_meaning, require_sound, trial_pairs
from dadfi_fast.errors import WeightsError
from dadfi_fast.files import sha256
from dadfi_fast.model_card import Card, read_card, write_card
from dadfi_fast.types import Float32

#: Mean difference, on the [-1, 1] scale, that a written model may have from the one that was tried.
TOLERANCE: Final = 1e-3
#: Longer lists of values are told by their shape in the card.
LISTED: Final = 16


@dataclass(frozen=True, eq=False)
class Network:
    """A network in the normal form, and what its card says."""

    path: Path  # as it was given
    model: onnx.ModelProto
    interface: Interface
    any_batch: bool
    fakes: Float32  # [N, 3, S, S], of the pairs that it was tried with (`trial_pairs`)
    facts: Mapping[str, Any]
    notes: tuple[str, ...]  # what was found out or assumed

    @property
    def parameters(self) -> int:
        """Numbers in its weights, those that we wrote among them."""
        return sum(math.prod(tensor.dims) for tensor in self.model.graph.initializer)


def read_own(path: Path, wishes: NetworkWishes) -> Network:
    """Check, try and rewrite the network in ``path``.

    Raises:
        UsageError: there is no such file, or something must be said that neither file nor trial tells.
        WeightsError: the file is refused, or the network cannot be run as a deepfake model.
    """
    given = read_network(path)
    interface = find_interface(given, wishes)
    meaning, notes = find_meaning(given, interface, wishes)
    sound = require_sound(given, interface, meaning)
    facts = {
        "labels": [],
        "edits": list(interface.edits),
        "batch": 0 if sound.any_batch else 1,
        "network": {
            "input": interface.picture,
            "output": interface.output,
            "layout": interface.layout,
            "output_layout": meaning.output_layout,
            "range": meaning.range.name,
            "output_range": meaning.output_range.name,
            "channels": meaning.channels,
            "shrink": meaning.shrink,
            "values": {each.name: [_value_text(value) for value in each.values] for each in interface.fixed},
        },
    }
    taken = f"picture {interface.picture} ({interface.layout}) to {interface.output} ({meaning.output_layout})"
    return Network(path, sound.model, interface, sound.any_batch, sound.fakes, facts, (taken, *notes, *sound.notes))


def write_own(network: Network, folder: Path, *, name: str) -> Card:
    """Write ``NAME.onnx`` and its card ``NAME.md`` to ``folder``, read them as `check` does, and compare.

    Raises:
        WeightsError: what was written gives other pictures.
    """
    path = folder / f"{name}.onnx"
    path.write_bytes(network.model.SerializeToString())
    given = network.path
    facts = {
        "name": name,
        "family": OWN,
        "file": path.name,
        "sha256": sha256(path),
        "image_size": network.interface.size,
        "parameters": network.parameters,
        "licence": "not stated (added by the user)",
        "source": "added",
        "original": {"file": f"original/{given.name}", "sha256": sha256(given), "bytes": given.stat().st_size},
        **network.facts,
    }
    card = path.with_suffix(".md")
    text = f"A network of the user's, rewritten from {given.name}; docs/own-models.md says how."
    write_card(card, facts, text)
    images, edits = trial_pairs(network.interface)
    fakes = DeepfakeModel(read_card(card)).fake(images, edits)
    if not np.abs(fakes - network.fakes).mean((1, 2, 3)).max() <= TOLERANCE:
        raise WeightsError(f"the model written from {given} does not give the pictures of the trial")
    reason = _why_not(network, images, edits, fakes)
    write_card(card, facts | {"differentiable": not reason, "why_not": reason}, text)
    return read_card(card)


def _why_not(network: Network, images: Float32, edits: Float32, fakes: Float32) -> str:
    """Why gradients do not go through the network; "" if they do."""
    if importlib.util.find_spec("torch") is None:
        return "torch was not installed when it was added (extra train)"
    from dadfi_fast.deepfakes.onnx_torch import why_not

    return why_not(network.model, images, edits, fakes, one_by_one=not network.any_batch)


def _value_text(value: Values) -> str:
    if value.size > LISTED:
        return f"{value.dtype} {list(value.shape)}"
    if (value == value.flat[0]).all():
        return f"{value.flat[0]:g}"
    return f"[{', '.join(f'{each:g}' for each in value.flat)}]"
