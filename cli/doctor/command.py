"""``dadfi-fast doctor``: what this machine can run, why not the rest, and how fast it protects."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dadfi_fast import __version__, device
from dadfi_fast.cli import console, options
from dadfi_fast.cli.doctor import engines, machine, software, speed
from dadfi_fast.cli.doctor.machine import Finding
from dadfi_fast.cli.doctor.speed import Auto, Speed
from dadfi_fast.errors import DadfiError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("doctor")
@click.option(
    "--photo", type=_FILE, metavar="FILE", help="Photo to measure the speed with.  [default: a synthetic portrait]"
)
@click.option("--scratch", type=_FOLDER, metavar="DIR", help="Folder whose disk to measure.  [default: the system's]")
@click.option(
    "--measure/--no-measure", default=True, show_default=True, help="Measure the speed for about three seconds."
)
@options.json_output
@options.quiet
def command(photo: Path | None, scratch: Path | None, measure: bool, as_json: bool, quiet: bool) -> None:
    """Show what this machine can run, and what is missing for the rest.

    Checks the CPU, memory, disk, GPU and driver, and every backend, face detector, image format and weights file; for
    whatever does not run it shows the reason and the fix. Then it shows the settings that `protect` would choose (auto)
    and the expected photos per second from disk to disk, measured on copies of one photo.

    A missing GPU is reported but is not an error. Exits with code 1 if this machine cannot protect photos.
    """
    findings, auto, speed = _look(photo, scratch, measure=measure, quiet=quiet)
    if as_json:
        console.json(_document(findings, auto, speed))
    else:
        _show(findings, auto, speed)
    _judge(findings)


def _look(
    photo: Path | None, folder: Path | None, *, measure: bool, quiet: bool
) -> tuple[list[Finding], Auto | None, Speed | None]:
    graphics = list(machine.graphics())
    gpus = sum(found.ok for found in graphics if found.kind == "gpu")
    parts = [*software.backends(gpus=gpus), *software.detectors(), *software.codecs()]
    parts += [*software.gpu_codecs(gpus=gpus), *software.kernels(gpus=gpus), *software.models()]
    parts += [*engines.engines(gpus=gpus), *engines.stores()]
    with speed.scratch(folder) as scratch:
        speeds: dict[str, float] = {}
        if measure:
            if not quiet:
                console.message("measuring for about four seconds (skip with --no-measure)")
            speeds = asdict(speed.measure_disk(scratch / "disk"))
        disk = machine.disk(scratch.parent, **speeds)
        findings = [machine.cpu(), machine.memory(), disk, *graphics, *parts]
        if _lacking(findings):
            return findings, None, None
        auto, bench_setup = speed.setup(scratch)
        return findings, auto, speed.measure(bench_setup, photo, scratch) if measure else None


def _document(findings: Sequence[Finding], auto: Auto | None, speed: Speed | None) -> dict[str, Any]:
    facts = {"version": __version__, "python": platform.python_version(), "machine": device.machine()}
    rows = [asdict(finding) for finding in findings]
    return {**facts, "findings": rows, "auto": auto and asdict(auto), "speed": speed and asdict(speed)}


def _show(findings: Sequence[Finding], auto: Auto | None, speed: Speed | None) -> None:
    console.result(f"dadfi-fast {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
    rows = [[f.kind, f.name, "ok" if f.ok else "no", f.note] for f in findings]
    console.table(["what", "name", "", "note"], rows)
    mends = [(f"{f.kind} {f.name}", f.mend) for f in findings if f.mend]
    if mends:
        console.result("\nHow to fix what does not run:")
        for name, mend in mends:
            console.result(f"  {name}: {mend}")
    if auto is not None:
        console.result("\nSettings chosen by auto on this machine:")
        console.table(["option", "value", "why"], auto.rows())
    if speed is not None:
        console.result(f"\n{_sentence(speed)}")


def _sentence(speed: Speed) -> str:
    photo = "a synthetic portrait" if speed.photo == "drawn" else speed.photo
    faces = f"{speed.faces} face{'s' * (speed.faces != 1)}"
    what = f"{photo} ({speed.format}, {speed.megapixels:g} megapixels, {faces})"
    rate = f"Expect {speed.photos_per_second:g} photos/s from disk to disk"
    return f"{rate}: {speed.photos} copies of {what} took {speed.seconds:g} s."


def _lacking(findings: Sequence[Finding]) -> list[str]:
    """The parts that nothing can be protected without, and of which none works."""
    return [kind for kind in ("backend", "detector", "model") if not any(f.ok for f in findings if f.kind == kind)]


def _judge(findings: Sequence[Finding]) -> None:
    """End with an error where ``protect`` would."""
    lacking = _lacking(findings)
    broken = [f.name for f in findings if f.kind == "model" and not f.ok]
    if lacking:
        raise DadfiError(f"cannot protect photos on this machine: no working {' or '.join(lacking)}")
    if broken:
        raise DadfiError(f"damaged: {', '.join(broken)}. Reinstall dadfi-fast.")
