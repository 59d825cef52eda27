"""Which deepfake models there are, by the cards that lie beside their weights."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from dadfi_fast.deepfakes.edits import FAMILIES
from dadfi_fast.deepfakes.encoders import ENCODERS, EncoderModel
from dadfi_fast.deepfakes.onnx_model import CLASSIFIERS, AttributeModel, DeepfakeModel
from dadfi_fast.errors import UsageError, WeightsError
from dadfi_fast.model_card import Card, folders, readable_cards
from dadfi_fast.registry import Registry


def deepfake_cards(folder: Path | None = None) -> Registry[Card]:
    """The cards of the deepfake models in ``folder``; of those that ship and those that were added where None.

    Of two models with one name the first counts, which is the one that ships.
    """
    return _table("deepfake model", FAMILIES, folder)


def purpose(family: str) -> tuple[str, str | None]:
    """What the models of a family are, in words, and the measure that `check` judges by with them."""
    if family in ENCODERS:
        return f"encoder ({ENCODERS[family].reads})", f"d_code ({ENCODERS[family].measure})"
    if family in FAMILIES:
        return "deepfake model", "d_mask"
    return {CLASSIFIERS: "attribute classifier"}.get(family, family), None


def encoder_cards(folder: Path | None = None) -> Registry[Card]:
    """The cards of the encoders in ``folder``; of those that were added where None. None ships."""
    return _table("encoder", ENCODERS, folder)


def target_cards(folder: Path | None = None) -> Registry[Card]:
    """The cards of all that perturbations can be made against: deepfake models, then encoders."""
    return _table("model", {**FAMILIES, **ENCODERS}, folder)


def load_models(
    names: Sequence[str] = (), *, folder: Path | None = None, threads: int | None = None
) -> list[DeepfakeModel]:
    """The deepfake models ``names``, or all where none is named.

    Args:
        folder: where they lie; None is what ships and what was added.

    Raises:
        UsageError: a name is unknown.
        WeightsError: there is no deepfake model at all, or one is not the file of its card.
    """
    table = deepfake_cards(folder)
    chosen = [table[name] for name in dict.fromkeys(names or table)]
    if not chosen:
        raise WeightsError(f"no deepfake model in {folder or folders()[0]}. Reinstall dadfi-fast.")
    return [DeepfakeModel(card, threads=threads) for card in chosen]


def load_encoders(
    names: Sequence[str] = (), *, folder: Path | None = None, threads: int | None = None
) -> list[EncoderModel]:
    """The encoders ``names``, or all where none is named, which may be none at all.

    Args and errors are those of `load_models`.
    """
    table = encoder_cards(folder)
    return [EncoderModel(table[name], threads=threads) for name in dict.fromkeys(names or table)]


def load_judges(names: Sequence[str] = ()) -> tuple[list[DeepfakeModel], list[EncoderModel]]:
    """The deepfake models and the added encoders ``names``, or all of both where none is named.

    Errors are those of `load_models`.
    """
    table = encoder_cards()
    encoders = [name for name in names if name in table]
    others = [name for name in names if name not in table]
    try:
        models = load_models(others) if others else [] if names else load_models()
    except UsageError as error:
        known = f". Encoders: {', '.join(table)}" if list(table) else ""
        raise UsageError(f"{error}{known}") from error
    return models, load_encoders(encoders) if encoders or not names else []


def load_attributes(*, folder: Path | None = None, threads: int | None = None) -> AttributeModel:
    """The attribute classifier in ``folder``; the one that ships where None.

    Raises:
        WeightsError: there is none, or it is not the file of its card.
    """
    for card in _cards(folder):
        if card.family == CLASSIFIERS:
            return AttributeModel(card, threads=threads)
    raise WeightsError(f"no attribute classifier in {folder or folders()[0]}. Reinstall dadfi-fast.")


def _table(kind: str, families: Container[str], folder: Path | None) -> Registry[Card]:
    """Cards by name; of two with one name the first counts, which is the one that ships."""
    table: Registry[Card] = Registry(kind)
    for card in _cards(folder):
        if card.family in families and card.name not in table:
            table.add(card.name)(card)
    return table


def _cards(folder: Path | None) -> list[Card]:
    return readable_cards(folder)
