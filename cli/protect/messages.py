"""What ``protect`` says: a line for a file, the stages while it runs, the summary at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from dadfi_fast.cli import console

if TYPE_CHECKING:
    from dadfi_fast.protect.meter import Stage
    from dadfi_fast.protect.results import Outcome
    from dadfi_fast.protect.summary import Summary

#: Stages that are named while a run goes on: the others never hold it up, and a terminal has 80 columns.
_NAMED: Final = ("decode", "detect", "perturb", "strength", "encode", "write")


def line(outcome: Outcome) -> str:
    """One file's outcome."""
    from dadfi_fast.protect.results import Copied, Done, Failed, Skipped, Written

    name = outcome.entry.name
    if isinstance(outcome, Written):
        faces = f"{len(outcome.faces)} face{'s' * (len(outcome.faces) != 1)}"
        strength = "" if outcome.strength is None else f", strength {outcome.strength:g}"
        facts = f"{faces}{strength}, {outcome.linf} levels"
        return "; ".join((f"written {name} -> {outcome.target}: {facts}", *outcome.notes))
    if isinstance(outcome, Failed):
        return f"failed  {name}: {outcome.stage}: {outcome.error}"
    if isinstance(outcome, Done):
        return f"done    {name}"
    word = {Copied: "copied ", Skipped: "skipped"}[type(outcome)]
    return "; ".join((f"{word} {name}: {outcome.reason}", *getattr(outcome, "notes", ())))


def planned(row: dict[str, Any]) -> str:
    """What would be done with one file, in one line."""
    outcome = f" -> {row['target']}" if row["target"] else f": {row['reason']}"
    return console.visible(f"{row['action']:8}{row['source']}{outcome}")


def stages(measured: Sequence[Stage]) -> str:
    """Which stage the others wait for, and the photos a second that each would do alone."""
    from dadfi_fast.protect.meter import bottleneck

    slowest = bottleneck(list(measured))
    rates = ", ".join(f"{stage.name} {stage.rate:.0f}" for stage in measured if stage.name in _NAMED)
    return f"slowest: {slowest}; {rates} /s" if slowest else ""


def counts(summary: Summary) -> list[tuple[str, int]]:
    """What became of how many files; only what there is."""
    named = (
        ("protected", summary.written),
        ("copied: no face", summary.copied),
        ("skipped: already protected", summary.already),
        ("skipped: not an image", summary.other),
        ("skipped: written with other settings or from another file", summary.changed),
        ("skipped: see the manifest", summary.skipped - summary.already - summary.other - summary.changed),
        ("failed", summary.failed),
        ("done earlier", summary.done),
    )
    return [(name, n) for name, n in named if n] or [("nothing done", 0)]


def _results(count: int) -> str:
    return f"{count} result{'s' * (count != 1)}"


def show(summary: Summary, *, verbose: bool) -> None:
    """The summary, on stdout; ``verbose``: with a table of the stages."""
    from dadfi_fast.protect.meter import bottleneck

    console.table(("files", "n"), counts(summary))
    if summary.changed:
        console.message(
            f"{summary.changed} results were written with other settings or from another file and were left as they"
            " are. Pass --on-exists overwrite to replace them."
        )
    if summary.weakened:
        console.message(
            f"JPEG's subsampled colour removes much of the protection of small faces in {_results(summary.weakened)}."
            " Pass --chroma auto to keep it (files grow by about a quarter)."
        )
    if summary.unbroken:
        console.message(
            f"no strength that --strength auto tries breaks enough fakes in {_results(summary.unbroken)}; their faces"
            " got the default strength. The manifest says which."
        )
    if summary.doubtful:
        console.message(
            f"a preview of the original may be left in unreadable metadata, such as encrypted maker notes, of"
            f" {_results(summary.doubtful)}. The manifest says which."
        )
    for note in summary.notes:
        console.message(note)
    if not summary.written:
        return
    slowest = bottleneck(summary.stages)
    if verbose and summary.stages:
        console.result("")
        rows = [(stage.name, stage.photos, stage.rate, f"{stage.load:.0%}") for stage in summary.stages]
        console.table(("stage", "photos", "photos/s alone", "thread load"), rows)
        console.result("")
    rate = summary.to_dict()["photos_per_second"]
    faces = f"{summary.faces} face{'s' * (summary.faces != 1)} changed, by at most {summary.linf} of 255 levels"
    console.result(f"{faces}; {rate:.1f} photos/s; slowest: {slowest}")
