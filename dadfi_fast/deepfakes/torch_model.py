"""Deepfake models as training sees them: differentiable, from the very weights that ``check`` runs.

A shipped model is one ONNX file; the names of its weights are those of the state dict, so that torch reads them from it
and there is one file to ship and one hash to state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dadfi_fast.deepfakes import landmarks, mobilefacenet, stargan, stgan, taesd
from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.edits import OWN, Edits, edits_of
from dadfi_fast.deepfakes.encoders import ENCODERS, Unedited
from dadfi_fast.deepfakes.stgan_sac import AttentiveGenerator
from dadfi_fast.deepfakes.torch_checkpoint import read_state
from dadfi_fast.errors import WeightsError
from dadfi_fast.files import sha256
from dadfi_fast.model_card import Card


@dataclass(frozen=True)
class Target:
    """One deepfake model, or encoder, to be disturbed."""

    name: str
    model: Editor
    sha256: str
    rule: Edits
    columns: tuple[str, ...] = ()  # the attributes of the labels that `edits` gets; those of the rule where empty
    family: str = ""

    def fake(self, images: Tensor, edit: Tensor) -> Tensor:
        """Edit ``images`` [B, 3, H, W] in [-1, 1] as ``edit`` [B, D] says; [B, 3, S, S] in [-1, 1], or codes [B, C]."""
        return self.model.fake(images, edit)

    def edits(self, labels: Tensor) -> Tensor:
        """All edits of pictures that have ``labels`` [B, A], A as in `columns`: [E, B, D]."""
        columns = self.columns or self.rule.attributes
        return torch.from_numpy(self.rule(labels[:, [columns.index(name) for name in self.rule.attributes]].numpy()))


def load_target(card: Card) -> Target:
    """The model of ``card`` with frozen weights.

    Raises:
        WeightsError: the file is not that of its card, or its family cannot be trained against.
    """
    card.verify()
    encoder = card.family in ENCODERS
    network = _encoder(card) if encoder else _generator(card)
    editor = Editor(network, card.image_size).eval().requires_grad_(False)
    rule = Unedited(()) if encoder else edits_of(card.family, card.extra, where=card.path)
    return Target(card.name, editor, card.sha256, rule, family=card.family)


def load_targets(cards: Sequence[Card]) -> list[Target]:
    """`load_target` of each, all of them taking the same labels: the attributes of all, in the order of `columns`."""
    targets = [load_target(card) for card in cards]
    columns = tuple(dict.fromkeys(name for target in targets for name in target.rule.attributes))
    return [replace(target, columns=columns) for target in targets]


def _generator(card: Card) -> nn.Module:
    if card.family == OWN:
        return _own(card)
    weights = read_weights(card.file)
    if card.family == "stargan":
        return stargan.load_official(weights)
    if card.family == "stargan2":
        return landmarks.load(weights, card.image_size)
    if card.family in ("stgan", "stgan-sac"):
        return stgan.load(weights, stgan.Generator if card.family == "stgan" else AttentiveGenerator)
    raise WeightsError(f"{card.name} is of family {card.family}; cannot train a generator against it")


def _own(card: Card) -> nn.Module:
    """A network of the user's."""
    from dadfi_fast.deepfakes.onnx_torch import load_network

    if not card.extra.get("differentiable"):
        raise WeightsError(
            f"{card.name} can be judged only (check, --strength auto): {card.extra.get('why_not')}. Leave it out of"
            " train, evaluate ceiling (--models) and protect --refine (--refine-models)."
        )
    return load_network(card.file, one_by_one=card.extra.get("batch") == 1)


def _encoder(card: Card) -> nn.Module:
    """An encoder, from the official file that was added; none ships."""
    path = card.path.parent / str(card.extra["original"]["file"])
    if not path.is_file() or sha256(path) != card.extra["original"]["sha256"]:
        raise WeightsError(f"{path} is missing or was changed. Add {card.name} again (models add --force).")
    if card.family == "taesd":
        return taesd.Latents(taesd.load(read_state(path)))
    return mobilefacenet.Identity(mobilefacenet.load(read_state(path)))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in an ONNX file by their names in the state dict, as float32."""
    import onnx

    weights = {}
    for entry in onnx.load(path).graph.initializer:
        values = onnx.numpy_helper.to_array(entry)
        if np.issubdtype(values.dtype, np.floating):
            weights[entry.name.removesuffix(".f16")] = torch.from_numpy(values.astype(np.float32))
    return {name: value for name, value in weights.items() if "." in name}
