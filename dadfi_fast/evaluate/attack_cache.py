"""Attacks that are made beforehand, on other pictures: made once, and kept in a file for the next run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from dadfi_fast.attacks.base import Attack, Calls
from dadfi_fast.attacks.cmua import Watermark
from dadfi_fast.attacks.moma import Moma, MomaStage
from dadfi_fast.attacks.registry import AttackInputs
from dadfi_fast.errors import DiskError
from dadfi_fast.evaluate.experiment import Setup
from dadfi_fast.evaluate.result_cache import FOLDER, fingerprint
from dadfi_fast.files import atomic_file

#: The attacks that are kept.
MADE: Final = ("cmua", "moma")


def cached_attack(name: str, means: AttackInputs, setup: Setup, make: Callable[[], Attack]) -> Attack:
    """The attack ``name`` of `MADE` as it was kept for the same ``means``, or as ``make`` makes it.

    Raises:
        UsageError: it cannot be made.
        DiskError: it cannot be kept.
    """
    path = setup.out / FOLDER / f"{name}-{_key(name, means)[:12]}.npz" if setup.out else None
    if path and path.is_file() and not setup.fresh:
        setup.progress.note(f"{name}: made before, taken from {path}")
        return _load(path, means)
    count = sum(len(crops) for crops, _ in means.training)
    setup.progress.note(f"making {name} on {count} other pictures; this can take long")
    attack = make()
    if path:
        _save(path, attack)
    return attack


def _key(name: str, means: AttackInputs) -> str:
    data = hashlib.sha256()
    for crops, labels in means.training:
        data.update(np.ascontiguousarray(crops).data)
        data.update(np.ascontiguousarray(labels).data)
    targets = [target.sha256 for target in means.targets]
    return fingerprint([name, targets, means.budget.eps, means.seed, dict(means.options), data.hexdigest()])


def _save(path: Path, attack: Attack) -> None:
    assert isinstance(attack, Watermark | Moma), type(attack)
    if isinstance(attack, Watermark):
        what: dict[str, Any] = {"pattern": attack.pattern}
    else:
        what = {"genome": json.dumps([asdict(stage) for stage in attack.genome])}
    spent = np.array([attack.spent.gradients, attack.spent.queries])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            np.savez(file, spent=spent, **what)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error}. Choose another folder with --out.") from error


def _load(path: Path, means: AttackInputs) -> Attack:
    with np.load(path, allow_pickle=False) as arrays:
        if "pattern" in arrays:
            attack: Attack = Watermark(means.budget, arrays["pattern"])
        else:
            first, second, third = (MomaStage(**stage) for stage in json.loads(str(arrays["genome"])))
            attack = Moma(means.targets, means.budget, (first, second, third), seed=means.seed)
        attack.spent = Calls(*(int(count) for count in arrays["spent"]))
    return attack
