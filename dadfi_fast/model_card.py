"""Model cards: what a weights file is, where it came from, and whether it is still that file.

A card is ``NAME.md`` beside the weights: facts as TOML between two lines ``+++``, then text for people. What ships lies
in `WEIGHTS`; what ``models add`` took lies in the user's data folder, each model in a folder of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dadfi_fast.errors import UsageError, WeightsError
from dadfi_fast.files import sha256

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: The folder of what ships with the package.
WEIGHTS = Path(__file__).parent / "weights"
#: The environment variable that names another folder for added models.
MODELS_VARIABLE = "DADFI_MODELS"


@dataclass(frozen=True)
class Card:
    """The facts of one model; `extra` holds the rest of the front matter (training, data, figures)."""

    name: str
    family: str  # generator, stargan, attributes, ...
    path: Path  # of the card
    file: Path  # of the weights (ONNX)
    sha256: str  # of the weights
    image_size: int  # pixels; 0 where any size will do
    parameters: int
    licence: str
    extra: Mapping[str, Any]

    @property
    def source(self) -> str:
        """Where the model came from: ``bundled`` with the package, or ``added`` by the user."""
        return str(self.extra.get("source", "bundled"))

    @property
    def companion(self) -> Path | None:
        """The second file of weights that some cards name (``decoder``), beside the first."""
        decoder = self.extra.get("decoder")
        return self.path.parent / decoder["file"] if decoder else None

    def verify(self) -> None:
        """Compare the weights with the card.

        Raises:
            WeightsError: a file is missing, or its hash is not the one in the card.
        """
        self._verify(self.file, self.sha256)
        if self.companion:
            self._verify(self.companion, self.extra["decoder"]["sha256"])

    def _verify(self, file: Path, expected: str) -> None:
        fix = "Add it again (models add --force)" if self.source == "added" else "Reinstall dadfi-fast"
        if not file.is_file():
            raise WeightsError(f"{file} is missing, but {self.path.name} names it. {fix}.")
        digest = sha256(file)
        if digest != expected:
            raise WeightsError(f"{file} does not match its card (sha256 {digest}, card {expected}). {fix}.")


#: Facts that every card states, and their types.
_FACTS = {"name": str, "family": str, "sha256": str, "image_size": int, "parameters": int, "licence": str}
#: A longer file is no card: the longest of ours has 12 kB.
_LONGEST = 1 << 20


def read_card(path: Path) -> Card:
    """Read one card.

    Raises:
        WeightsError: the file has no front matter, or a fact is missing.
    """
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST:
            raise ValueError("it is too large or not a file")
        _, front, _ = path.read_text(encoding="utf-8").split("+++", 2)
        facts = tomllib.loads(front)
        known = {name: _of_type(facts.pop(name), kind, name) for name, kind in _FACTS.items()}
        file = _beside(facts.pop("file"))
        if decoder := facts.get("decoder"):
            _beside(decoder["file"])
            _of_type(decoder["sha256"], str, "sha256")
        return Card(path=path, file=path.parent / file, extra=facts, **known)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path} is not a model card ({error!r})") from error


def cards(folder: Path = WEIGHTS) -> list[Card]:
    """All cards in ``folder``, in name order."""
    return [read_card(p) for p in sorted(folder.glob("*.md"))]


def user_folder() -> Path:
    """Where added models lie: what ``DADFI_MODELS`` names, else the user's data folder; it may not be there yet."""
    named = os.environ.get(MODELS_VARIABLE)
    if named:
        return Path(named).expanduser()
    import platformdirs  # only where it is needed: start-up reads cards

    return Path(platformdirs.user_data_path("dadfi-fast", appauthor=False)) / "models"


def folders() -> list[Path]:
    """The folders that hold cards: what ships first, then one for each added model, in name order."""
    home = user_folder()
    added = sorted(p for p in home.iterdir() if p.is_dir() and not p.name.startswith(".")) if home.is_dir() else []
    return [WEIGHTS, *added]


def find_card(name: str, *, family: str | None = None, folder: Path | None = None) -> Card:
    """The card called ``name`` in ``folder``; among what ships and what was added where None.

    Raises:
        UsageError: there is none of this name (and family).
    """
    broken: list[str] = []
    known = [card for card in readable_cards(folder, broken=broken) if family in (None, card.family)]
    for card in known:
        if card.name == name:
            return card
    names = ", ".join(card.name for card in known) or "none"
    unread = "".join(f"; {why}" for why in broken)
    raise UsageError(f"unknown {family or 'model'} {name!r}. Available: {names}{unread}")


def readable_cards(folder: Path | None = None, *, broken: list[str] | None = None) -> list[Card]:
    """The cards in ``folder``; where None, of what ships and of added models, without those that cannot be read.

    ``broken`` gets the reasons: one model that is broken stops no command that does not need it.
    """
    if folder is not None:
        return cards(folder)
    readable = cards(WEIGHTS)
    for place in folders()[1:]:
        try:
            readable += cards(place)
        except WeightsError as error:
            if broken is not None:
                broken.append(str(error))
    return readable


def _of_type(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, not {kind.__name__}")
    return value


def _beside(file: Any) -> str:
    """The name of a file beside the card."""
    if Path(_of_type(file, str, "file")).name != file or "\0" in file:
        raise ValueError(f"file {file!r} does not lie beside the card")
    return str(file)


def write_card(path: Path, facts: Mapping[str, Any], text: str) -> None:
    """Write a card: ``facts`` (strings, numbers, booleans, lists, tables of them) as front matter, then ``text``."""
    front = "\n".join(f"{key} = {_toml(value)}" for key, value in facts.items())
    path.write_text(f"+++\n{front}\n+++\n\n{text.strip()}\n", encoding="utf-8")


def amend_card(card: Card, facts: Mapping[str, Any]) -> Card:
    """Add ``facts`` to a card, or change them; its text stays."""
    _, front, text = card.path.read_text(encoding="utf-8").split("+++", 2)
    write_card(card.path, tomllib.loads(front) | dict(facts), text)
    return read_card(card.path)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        items = [_toml(v) for v in value]
        long = sum(map(len, items)) > 90
        return "[\n" + "".join(f"  {i},\n" for i in items) + "]" if long else f"[{', '.join(items)}]"
    return json.dumps(value, ensure_ascii=False)  # JSON's strings, numbers and booleans are TOML's
