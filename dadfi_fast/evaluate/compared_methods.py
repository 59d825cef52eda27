"""Who takes part in a comparison: every attack that can be made here, and the generators.

White-box attacks get the very models that they are judged by; what is made beforehand is made on other pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.attacks.cmua import Watermark
from dadfi_fast.attacks.registry import ATTACKS, AttackInputs, make
from dadfi_fast.deepfakes.torch_model import load_targets
from dadfi_fast.errors import DataError, UsageError
from dadfi_fast.evaluate.attack_cache import MADE, cached_attack
from dadfi_fast.evaluate.experiment import Setup
from dadfi_fast.evaluate.methods import Informed, Method, generators
from dadfi_fast.evaluate.protocol import Protocol
from dadfi_fast.evaluate.sampled_arrays import archives
from dadfi_fast.evaluate.sampled_files import SampledFiles
from dadfi_fast.types import Budget, Float32

#: The attack whose generator is the project's own: `generators` stand for it.
OURS: Final = "dadfi"
#: The attack that is a pattern made beforehand, or read from a file.
UNIVERSAL: Final = "cmua"
#: Pictures to a batch where an attack is made on other pictures.
BATCH: Final = 16


@dataclass(frozen=True, eq=False)
class ComparedMethods:
    """The methods, and why the others do not take part."""

    methods: tuple[Method, ...]
    absent: Mapping[str, str]
    columns: tuple[str, ...]  # the attributes that the methods want to be told of pictures

    @property
    def arrays(self) -> dict[str, Float32]:
        """Universal perturbations that were made, to be used again."""
        marks = {method.name: method.attack for method in self.methods if method.attack.spent.gradients}
        return {name: attack.pattern for name, attack in marks.items() if isinstance(attack, Watermark)}

    @property
    def text(self) -> str:
        """Who does not take part, Markdown."""
        return "".join(f"- {name} does not take part: {why}\n" for name, why in self.absent.items())


def gather(protocol: Protocol) -> ComparedMethods:
    """The attacks that the setup names, or all that can be made, and its generators.

    Raises:
        UsageError: a named attack does not exist, or something that it needs is missing; or the pictures that attacks
            are made on are those that are judged.
        WeightsError: a model cannot be differentiated.
    """
    setup = protocol.setup
    own = generators(setup)
    named = {method.name for method in own} | {OURS}
    for name in {*setup.methods, *setup.options} - named:
        ATTACKS[name]  # a wrong name is found out before anything is made
    targets = load_targets([model.card for model in protocol.models])
    if setup.device.startswith("cuda"):
        for target in targets:
            target.model.to(setup.device)
    training = _training(protocol, targets[0].columns)
    means = AttackInputs(Budget(setup.strength), targets, training, seed=setup.seed)
    methods, absent = list[Method](), dict[str, str]()
    for name in dict.fromkeys(name for name in setup.methods or ATTACKS if name not in named):
        try:
            methods.append(Method(name, _made(name, setup, means)))
        except UsageError as error:
            if setup.methods:
                raise
            absent[name] = str(error)
    return ComparedMethods((*methods, *own), absent, targets[0].columns)


def facts(protocol: Protocol, method: Method | None = None) -> dict[str, Any]:
    """What rows say besides: the models that attacks are given, what was made beforehand, and how.

    Args:
        method: whose options are named; those of all attacks where None.
    """
    setup = protocol.setup
    options = {name: dict(given) for name, given in setup.options.items() if method is None or name == method.name}
    return {
        "attacked": {model.name: model.card.sha256 for model in protocol.models},
        "train": archives(setup.train),
        "train_sample": setup.train_sample if setup.train else None,
        "watermark": archives([setup.watermark] if setup.watermark else []),
        "options": options,
    }


def _made(name: str, setup: Setup, means: AttackInputs) -> Attack:
    if name == UNIVERSAL and setup.watermark:
        return Watermark(means.budget, _pattern(setup.watermark))
    options = setup.options.get(name, {})
    own = replace(means, options=options)
    try:
        if name in MADE and means.training:
            return cached_attack(name, own, setup, partial(make, name, own))
        return make(name, own)
    except TypeError as error:
        if not options:
            raise
        raise UsageError(f"attack {name} does not accept {', '.join(options)}:{error}") from error


def _training(protocol: Protocol, columns: tuple[str, ...]) -> list[tuple[Float32, Float32]]:
    """Batches of crops with their labels; none where the setup names no pictures to make attacks on."""
    setup = protocol.setup
    if not setup.train:
        return []
    if {path.resolve() for path in setup.train} & {path.resolve() for path in setup.sources}:
        raise UsageError(
            "--train and --data overlap; attacks must be made on other images. Pass other files with --train."
        )
    asked = replace(setup, sources=setup.train, sample=setup.train_sample)
    crops = protocol.crops(SampledFiles(asked, protocol.folder / "training"))
    parts = [crops[start : start + BATCH] for start in range(0, len(crops), BATCH)]
    return [(part, protocol.labels(part, columns)) for part in parts]


def _pattern(path: Path) -> Float32:
    try:
        pattern: Float32 = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} as a universal perturbation: {error}") from error
    if pattern.ndim != 3 or pattern.shape[0] != 3 or pattern.shape[1] != pattern.shape[2]:
        raise DataError(f"{path} has the shape {pattern.shape}; a universal perturbation is [3, S, S]")
    return pattern.astype(np.float32)


def informed(protocol: Protocol, compared: ComparedMethods, method: Method) -> Method:
    """``method``, told what the classifier sees in each picture before it perturbs it."""
    return replace(method, attack=Informed(method.attack, partial(protocol.labels, columns=compared.columns)))
