"""``dadfi-fast models``: the deepfake models and generators that are there."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final

import click

from dadfi_fast.cli import console, options
from dadfi_fast.errors import NothingToDo, WeightsError
from dadfi_fast.model_card import Card, cards, folders

#: Subcommands in files of their own, ``cli/models/NAME.py`` with an object ``command``; those without a file are not
#: listed.
ELSEWHERE: Final = ("add", "train")


class _Models(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *(name for name in ELSEWHERE if importlib.util.find_spec(_module(name)))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ELSEWHERE or cmd_name not in self.list_commands(ctx):
            return super().get_command(ctx, cmd_name)
        subcommand: click.Command = importlib.import_module(_module(cmd_name)).command
        return subcommand


def _module(name: str) -> str:
    return f"dadfi_fast.cli.models.{name}"


@click.group("models", cls=_Models)
def command() -> None:
    """List, verify, add or train the deepfake models and generators."""


@command.command("list")
@options.json_output
def list_models(as_json: bool) -> None:
    """List the models with the facts from their cards.

    measure is what `check` judges a protection by: d_mask of the fakes of a deepfake model, d_code of the codes of an
    encoder. edit_accuracy is the share of edits that show the requested attribute, averaged over the attributes; the
    card and --json list it per attribute.
    """
    rows = [_facts(card) for card in _cards()]
    if as_json:
        console.json(rows)
        return
    shown = [name for name in rows[0] if name != "edit_accuracies"]
    cells = ({**row, "sha256": row["sha256"][:12]} for row in rows)
    console.table(shown, [[row[name] for name in shown] for row in cells])


@command.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def verify(names: tuple[str, ...]) -> None:
    """Compare the hashes of the weights with their cards, for all models or for each NAME.

    Exits with code 1 if a file is missing or does not match its card.
    """
    known = {card.name: card for card in _cards()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(f"unknown model {', '.join(unknown)}. Available: {', '.join(known)}")
    chosen = [known[name] for name in names or known]
    broken = [card.name for card in chosen if not _verified(card)]
    if broken:
        raise WeightsError(f"{len(broken)} of {len(chosen)} models do not match their cards: {', '.join(broken)}")


def _cards() -> list[Card]:
    searched = folders()
    listed = [card for folder in searched for card in cards(folder)]
    if not listed:
        raise NothingToDo(f"no model in {searched[0]}. Reinstall dadfi-fast.")
    return listed


def _verified(card: Card) -> bool:
    try:
        card.verify()
    except WeightsError as error:
        console.error(str(error))
        return False
    console.result(f"{card.name}: ok")
    return True


def _facts(card: Card) -> dict[str, Any]:
    """What ``list`` shows of a model."""
    from dadfi_fast.deepfakes.registry import purpose

    accuracies: dict[str, float] = card.extra.get("edit_accuracy", {})
    kind, measure = purpose(card.family)
    known = [share for share in accuracies.values() if share == share]
    return {
        "name": card.name,
        "family": card.family,
        "source": card.source,
        "kind": kind,
        "measure": measure,
        "image_size": card.image_size,
        "parameters": card.parameters,
        "sha256": card.sha256,
        "licence": card.licence,
        "card": str(card.path),
        "edit_accuracy": sum(known) / len(known) if known else None,
        "edit_accuracies": accuracies or None,
    }
