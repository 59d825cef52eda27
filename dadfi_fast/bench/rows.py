"""Rows of figures: every number with what was run, on which machine, from which commit."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from dadfi_fast import __version__
from dadfi_fast.device import machine


@functools.cache
def checkout() -> str:
    """The commit of the checkout that the package runs from (``-dirty`` where it was changed), else its version."""
    root = Path(__file__).resolve().parents[2]
    top = _git(root, "rev-parse", "--show-toplevel")
    if top and Path(top).resolve() == root:  # not some repository that the environment happens to lie in
        return _git(root, "describe", "--always", "--dirty", "--exclude=*") or f"version {__version__}"
    return f"version {__version__}"


@dataclass(frozen=True)
class Row:
    """One case: the spread of its rates over the rounds."""

    case: str
    provider: str  # what did the work: a backend as it describes itself, or a library
    unit: str  # images/s, crops/s or ratio
    p20: float
    p50: float
    p80: float
    n: int  # rounds
    config: Mapping[str, Any]
    driver: str  # library or GPU driver, with its version
    machine: Mapping[str, object] = field(default_factory=machine)
    commit: str = field(default_factory=checkout)

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return asdict(self)


def summarise(
    case: str, provider: str, rates: Sequence[float], *, unit: str, driver: str, config: Mapping[str, Any]
) -> Row:
    """A row from the rate of every round (at least one)."""
    p20, p50, p80 = (float(value) for value in np.quantile(rates, (0.2, 0.5, 0.8)))
    return Row(case, provider, unit, p20, p50, p80, len(rates), config, driver)


def ratio(
    case: str, above: Sequence[float], below: Sequence[float], *, provider: str, config: Mapping[str, Any]
) -> Row:
    """How many times as fast ``above`` was as ``below``, round by round: what slows a round slows both."""
    pairs = [one / other for one, other in zip(above, below, strict=True)]
    return summarise(case, provider, pairs, unit="ratio", driver="", config=config)


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file, one JSON object a line."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row.to_dict(), ensure_ascii=False)}\n" for row in rows)


def package(name: str) -> str:
    """A package with its version, as rows name it."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except OSError:  # git is not there
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
