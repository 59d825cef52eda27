"""Which deepfake models there are, by the cards that lie beside their weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dadfi_fast.card import WEIGHTS, Card, cards
from dadfi_fast.deepfakes.edits import FAMILIES
from dadfi_fast.deepfakes.portable import CLASSIFIERS, AttributeModel, DeepfakeModel
from dadfi_fast.errors import WeightsError
from dadfi_fast.table import Table


def deepfake_cards(folder: Path = WEIGHTS) -> Table[Card]:
    """The cards of the deepfake models in ``folder``."""
    table: Table[Card] = Table("deepfake model")
    for card in cards(folder):
        if card.family in FAMILIES:
            table.add(card.name)(card)
    return table


def load_models(
    names: Sequence[str] = (), *, folder: Path = WEIGHTS, threads: int | None = None
) -> list[DeepfakeModel]:
    """The deepfake models ``names``, or all where none is named.

    Raises:
        UsageError: a name is unknown.
        WeightsError: there is no deepfake model at all, or one is not the file of its card.
    """
    table = deepfake_cards(folder)
    chosen = [table[name] for name in dict.fromkeys(names or table)]
    if not chosen:
        raise WeightsError(f"there is no deepfake model in {folder}; reinstall dadfi-fast")
    return [DeepfakeModel(card, threads=threads) for card in chosen]


def load_attributes(*, folder: Path = WEIGHTS, threads: int | None = None) -> AttributeModel:
    """The attribute classifier in ``folder``.

    Raises:
        WeightsError: there is none, or it is not the file of its card.
    """
    for card in cards(folder):
        if card.family == CLASSIFIERS:
            return AttributeModel(card, threads=threads)
    raise WeightsError(f"there is no attribute classifier in {folder}; reinstall dadfi-fast")
