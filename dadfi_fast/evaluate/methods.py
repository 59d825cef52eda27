"""What an experiment protects pictures with, each under a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.device import cores
from dadfi_fast.errors import UsageError
from dadfi_fast.evaluate.experiment import Setup
from dadfi_fast.model_card import Card, read_card
from dadfi_fast.protect.assembly import Assembly
from dadfi_fast.types import Float32

#: The names of the controls: the unchanged picture, written and read as a protected one is, and uniform noise.
NULL: Final = "null"
NOISE: Final = "noise"


@dataclass(frozen=True, eq=False)
class Method:
    """An attack, and what rows say of it."""

    name: str
    attack: Attack
    card: Card | None = None  # of its generator
    runs_on: str | None = None  # the backend of its generator

    @property
    def generator(self) -> str | None:
        """The hash of its generator."""
        return self.card.sha256 if self.card else None


class Unchanged(Attack):
    """Perturbs nothing: what a picture goes through all the same is then all that happens to it."""

    def run(self, crops: Float32) -> Float32:
        return np.zeros_like(crops)


class Informed(Attack):
    """Tells another attack which attributes pictures have, as ``check`` finds out what to edit.

    Args:
        seen: what says it of crops [B, 3, S, S]: [B, A].
    """

    def __init__(self, attack: Attack, seen: Callable[[Float32], Float32]) -> None:
        super().__init__(attack.budget)
        self.attack, self.seen, self.crop_size = attack, seen, attack.crop_size

    def run(self, crops: Float32) -> Float32:
        return self.attack.aim(self.seen(crops))(crops)


def generators(setup: Setup) -> list[Method]:
    """The generators of ``setup``, each loaded by its backend.

    Raises:
        UsageError: there is no such generator, or two have one name.
        WeightsError: a file is missing, or not that of its card.
        BackendMissing: the backend cannot run here.
    """
    methods = []
    for label, name in map(_parted, setup.generators):
        parts = Assembly(generator=name, backend=setup.backend, device=setup.device)
        attack = parts.attack(setup.strength, threads=cores())
        card = read_card(parts.generator_file.onnx.with_suffix(".md"))
        methods.append(Method(label or parts.generator_file.name, attack, card, attack.backend.describe))
    name, count = Counter(method.name for method in methods).most_common(1)[0]
    if count > 1:
        raise UsageError(f"{count} generators are named {name!r}. Give each a label: --generator LABEL={name}")
    return methods


def _parted(entry: str) -> tuple[str, str]:
    """``LABEL=NAME`` as the two; the label is empty where there is none, as in a path that happens to have a ``=``."""
    label, equals, name = entry.partition("=")
    return (label, name) if equals and "/" not in label else ("", entry)
