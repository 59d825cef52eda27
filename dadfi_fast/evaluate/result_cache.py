"""What of an experiment is finished: kept as the run goes, and taken from there when the same is asked for again.

An experiment is made of units, a method each. Their rows lie in ``OUT/finished/EXPERIMENT.jsonl``, a line a unit,
under a hash of all that they depend on: pictures, models, generator, settings, machine, version.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dadfi_fast.errors import DiskError
from dadfi_fast.evaluate.experiment import Row, Setup

#: The folder beside the results.
FOLDER: Final = "finished"
#: What rows say that does not change what is measured.
IDLE: Final = frozenset({"command"})


@dataclass(frozen=True, eq=False)
class Unit:
    """A part of an experiment that is measured as a whole."""

    name: str  # what the user is told
    facts: Mapping[str, Any]  # all that its rows depend on
    measure: Callable[[], Iterable[Row]]


def measured(experiment: str, units: Sequence[Unit], setup: Setup, *, pictures: int) -> list[Row]:
    """The rows of all ``units``, in order; those that are there are not measured again.

    Args:
        pictures: how many a unit protects, and then checks.

    Raises:
        DiskError: what is finished cannot be kept.
    """
    keys = [fingerprint([experiment, unit.name, unit.facts]) for unit in units]
    path = setup.out / FOLDER / f"{experiment}.jsonl" if setup.out else None
    known = _read(path) if path and not setup.fresh else {}
    if reused := [unit.name for unit, key in zip(units, keys, strict=True) if key in known]:
        setup.progress.note(f"{experiment}: finished before, taken from {path}: {', '.join(reused)}")
    left = len(units) - len(reused)
    setup.progress.plan(2 * pictures * left)
    number = 0
    for unit, key in zip(units, keys, strict=True):
        if key in known:
            continue
        number += 1
        setup.progress.stage(f"{unit.name} ({number} of {left})")
        start = time.monotonic()
        known[key] = list(unit.measure())
        if path:
            _append(path, {"key": key, "piece": unit.name, "seconds": time.monotonic() - start, "rows": known[key]})
    return [row for key in keys for row in known[key]]


def fingerprint(facts: object) -> str:
    """A hash of ``facts``; text stands for what JSON does not know."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(entry) for key, entry in value.items() if key not in IDLE}
        return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value

    return hashlib.sha256(json.dumps(plain(facts), sort_keys=True, default=str).encode()).hexdigest()


def _read(path: Path) -> dict[str, list[Row]]:
    """The rows by key; a line that a killed run left unfinished is none."""
    entries = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            entries[entry["key"]] = list(entry["rows"])
        except (ValueError, KeyError, TypeError):
            continue
    return entries


def _append(path: Path, entry: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.is_file() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + json.dumps(entry, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error}. Choose another folder with --out.") from error
