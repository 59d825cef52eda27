"""``dadfi-fast doctor``: what this machine can run, and why not the rest."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass

import click

from dadfi_fast import __version__, device
from dadfi_fast.card import cards
from dadfi_fast.cli import console, options
from dadfi_fast.errors import DadfiError, WeightsError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    kind: str  # backend, detector or model
    name: str
    ok: bool
    note: str  # why not and what mends it; what it is, where it is well


@click.command("doctor")
@options.json_output
def command(as_json: bool) -> None:
    """Say what this machine can run, and why not the rest.

    Looks at the processor, the backends, the face detectors and the weights. Exits with 1 if photos cannot be
    protected here.
    """
    machine = device.machine()
    findings = [*_backends(), *_detectors(), *_models()]
    if as_json:
        rows = [asdict(finding) for finding in findings]
        facts = {"version": __version__, "python": platform.python_version(), "machine": machine}
        console.json({**facts, "findings": rows})
    else:
        bf16 = "with" if machine["bf16"] else "without"
        console.result(f"dadfi-fast {__version__}, Python {platform.python_version()}, {machine['system']}")
        console.result(f"{machine['processor']}, {machine['cores']} cores, {bf16} bfloat16 in hardware\n")
        console.table(
            ["what", "name", "", "note"], [[f.kind, f.name, "ok" if f.ok else "no", f.note] for f in findings]
        )
    _judge(findings)


def _backends() -> list[Finding]:
    from dadfi_fast.backends.choice import BACKENDS

    kinds = {name: BACKENDS[name]() for name in BACKENDS}
    states = {name: kind.missing() for name, kind in kinds.items()}
    notes = {name: "cpu" + "; a GPU is not looked for" * ("cuda" in kind.devices) for name, kind in kinds.items()}
    return [Finding("backend", name, why is None, why or notes[name]) for name, why in states.items()]


def _detectors() -> list[Finding]:
    from dadfi_fast.faces.detector import DETECTORS

    states = {name: DETECTORS[name]().missing(None) for name in DETECTORS}
    return [Finding("detector", name, why is None, why or "") for name, why in states.items()]


def _models() -> list[Finding]:
    found = []
    for card in cards():
        try:
            card.verify()
            found.append(Finding("model", card.name, True, f"{card.family}, {card.parameters} parameters"))
        except WeightsError as error:
            found.append(Finding("model", card.name, False, str(error)))
    return found


def _judge(findings: list[Finding]) -> None:
    """End with an error where ``protect`` would."""
    lacking = [kind for kind in ("backend", "detector", "model") if not any(f.ok for f in findings if f.kind == kind)]
    broken = [f.name for f in findings if f.kind == "model" and not f.ok]
    if lacking:
        raise DadfiError(f"photos cannot be protected here: there is no {' and no '.join(lacking)} that works")
    if broken:
        raise DadfiError(f"damaged: {', '.join(broken)}; reinstall dadfi-fast")
