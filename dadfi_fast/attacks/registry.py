"""Every attack by its name, made from whatever it needs: one door for experiments that compare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from dadfi_fast.attacks.base import Attack
from dadfi_fast.errors import UsageError
from dadfi_fast.registry import Registry, lazy
from dadfi_fast.types import Budget, Float32

if TYPE_CHECKING:
    from dadfi_fast.backends.base import Backend
    from dadfi_fast.deepfakes.torch_model import Target


@dataclass(frozen=True, eq=False)
class AttackInputs:
    """What attacks are made from; each takes what it needs."""

    budget: Budget
    targets: Sequence[Target] = ()  # the deepfake models, all of them taking the same labels
    training: Sequence[tuple[Float32, Float32]] = ()  # crops [B, 3, S, S] and labels [B, A]; not those that are judged
    generators: Mapping[str, Backend] = field(default_factory=dict)  # trained ones, by the name of the attack
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)  # keyword arguments of the attack


Factory: TypeAlias = Callable[[AttackInputs], Attack]

#: Name -> what makes the attack. Listing them loads no framework.
ATTACKS: Registry[Factory] = Registry("attack")


def make(name: str, means: AttackInputs) -> Attack:
    """The attack ``name``.

    Raises:
        UsageError: there is none of that name, or ``means`` lacks what it needs.
    """
    return ATTACKS[name](means)


def _noise(means: AttackInputs) -> Attack:
    from dadfi_fast.attacks.noise import Noise

    return Noise(means.budget, seed=means.seed)


def _aimed(name: str, module: str, kind: str) -> Factory:
    """What makes an attack that asks deepfake models."""

    def factory(means: AttackInputs) -> Attack:
        _need(name, targets=means.targets)
        attack: Attack = lazy(module, kind)()(means.targets, means.budget, seed=means.seed, **means.options)
        return attack

    return factory


def _cmua(means: AttackInputs) -> Attack:
    from dadfi_fast.attacks.cmua import train_watermark

    _need("cmua", targets=means.targets, training=means.training)
    return train_watermark(means.targets, means.training, means.budget, seed=means.seed, **means.options)


def _moma(means: AttackInputs) -> Attack:
    """The attack at the knee of what the search finds."""
    import numpy as np

    from dadfi_fast.attacks.memetic import search
    from dadfi_fast.attacks.moma import Moma

    _need("moma", targets=means.targets, training=means.training)
    crops, labels = (np.concatenate(parts) for parts in zip(*means.training, strict=True))
    front = search(means.targets, crops, labels, means.budget, seed=means.seed, **means.options)
    attack = Moma(means.targets, means.budget, front.knee, seed=means.seed)
    attack.spent = front.spent
    return attack


def _generated(name: str) -> Factory:
    """What makes an attack that is one pass of a trained generator."""

    def factory(means: AttackInputs) -> Attack:
        from dadfi_fast.attacks.generator import GeneratorAttack

        if name not in means.generators:
            recipe = "release" if name == "dadfi" else name
            raise UsageError(f"attack {name} needs its generator. Train one: dadfi-fast train --recipe {recipe}")
        return GeneratorAttack(means.generators[name], means.budget)

    return factory


def _need(name: str, **means: Sequence[Any]) -> None:
    needs = {"targets": "deepfake models. Pass --models.", "training": "training images. Pass --train."}
    for key, value in means.items():
        if not len(value):
            raise UsageError(f"attack {name} needs {needs[key]}")


ATTACKS.add("noise")(_noise)
ATTACKS.add("fgsm")(_aimed("fgsm", "dadfi_fast.attacks.pgd", "FGSM"))
ATTACKS.add("i-fgsm")(_aimed("i-fgsm", "dadfi_fast.attacks.pgd", "IFGSM"))
ATTACKS.add("pgd")(_aimed("pgd", "dadfi_fast.attacks.pgd", "PGD"))
ATTACKS.add("cmua")(_cmua)
ATTACKS.add("anti-forgery")(_aimed("anti-forgery", "dadfi_fast.attacks.anti_forgery", "AntiForgery"))
ATTACKS.add("initiative")(_generated("initiative"))
ATTACKS.add("mse")(_generated("mse"))
ATTACKS.add("moma")(_moma)
ATTACKS.add("ats-o2a")(_aimed("ats-o2a", "dadfi_fast.attacks.ats_o2a", "AtsO2A"))
ATTACKS.add("adv-bot")(_aimed("adv-bot", "dadfi_fast.attacks.adv_bot", "AdvBot"))
ATTACKS.add("dadfi")(_generated("dadfi"))
