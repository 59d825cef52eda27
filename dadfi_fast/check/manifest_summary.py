"""The scope of a check: what the run that protected wrote down of the files that were not, and of the generator."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dadfi_fast.check.pairs import MANIFEST, rows

#: What a row that is not about a protected file says, in words.
STATUS: Final = {"copied": "copied unprotected", "skipped": "left out", "failed": "failed"}


@dataclass(frozen=True)
class Unprotected:
    """A file that was not protected, and so not checked."""

    name: str
    status: str
    why: str


@dataclass(frozen=True)
class ManifestSummary:
    """What a manifest says beyond the pairs."""

    left: tuple[Unprotected, ...] = ()  # in the order of the manifest
    makers: tuple[str, ...] = ()  # what protected: hash of the generator, fingerprint of the options, backend
    strengths: tuple[tuple[float, int], ...] = ()  # of the protections, and how many rows name each; weakest first
    refined: tuple[str, ...] = ()  # how perturbations were refined, and against which models


def read_manifest_summary(folder: Path) -> ManifestSummary:
    """The scope by the manifest in ``folder``; an empty one where there is none. The last row of an input counts."""
    path = folder / MANIFEST
    left: dict[str, Unprotected] = {}
    makers: dict[str, None] = {}
    refinements: dict[str, None] = {}
    strengths: Counter[float] = Counter()
    for row in rows(path) if os.path.lexists(path) else ():
        source, status = str(row.get("source")), str(row.get("status"))
        left.pop(source, None)
        if status in STATUS:
            left[source] = Unprotected(source, STATUS[status], _why(row))
        elif row.get("generator"):
            makers[_maker(row)] = None
            if isinstance(row.get("refined"), dict):
                refinements[refined(row["refined"])] = None
            if isinstance(strength := row.get("strength"), float):
                strengths[strength] += 1
    counts = tuple(sorted(strengths.items()))
    return ManifestSummary(tuple(left.values()), tuple(makers), counts, tuple(refinements))


def _why(row: Mapping[str, Any]) -> str:
    error = row.get("error")
    return str(row.get("reason") or (error.get("message") if isinstance(error, dict) else None) or "no reason given")


def _maker(row: Mapping[str, Any]) -> str:
    facts = row.get("refined")
    after = f"; {refined(facts)}" if isinstance(facts, dict) else ""
    return f"generator sha256 {row['generator']}, options {row.get('config')}, {row.get('backend')}{after}"


def refined(facts: Mapping[str, Any]) -> str:
    """What a row's ``refined`` says, for people."""
    models = facts.get("models")
    hashes = models if isinstance(models, dict) else {}
    names = ", ".join(f"{name} ({str(sha256)[:12]})" for name, sha256 in hashes.items()) or "unknown models"
    return (
        f"refined in {facts.get('steps')} white-box steps against {names}, to look like JPEG {facts.get('look')} at"
        f" worst (seed {facts.get('seed')})"
    )
