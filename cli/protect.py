"""``dadfi-fast protect``: photos in, protected photos out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.protect_config import from_file
from dadfi_fast.errors import CheckFailed, DadfiError, NothingToDo
from dadfi_fast.protect.config import FORMATS, NO_FACE, ON_EXISTS, ProtectConfig

if TYPE_CHECKING:
    from dadfi_fast.backends.artifact import Artifact
    from dadfi_fast.check.verdict import Verdict
    from dadfi_fast.faces.detector import Detector
    from dadfi_fast.protect.manifest import Facts
    from dadfi_fast.protect.outcome import Outcome
    from dadfi_fast.protect.summary import Summary

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _quality(_ctx: click.Context, _param: click.Parameter, value: str) -> int | None:
    if value == "keep":
        return None
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither 'keep' nor a number from 1 to 100")
    return int(value)


@click.command("protect")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), required=True, help="Where the results go.")
@click.option("--strength", type=float, default=0.05, show_default=True, help="Largest change, 0.01 to 0.1 of [-1, 1].")
@click.option(
    "--generator", metavar="NAME", default="generator-s", show_default=True, help="Its name, or an ONNX file."
)
@options.backend
@options.detector
@click.option("--no-face", type=click.Choice(NO_FACE), default="copy", show_default=True, help="Photos without a face.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="keep", show_default=True, help="Of the results.")
@click.option(
    "--quality", metavar="N", default="keep", show_default=True, callback=_quality,
    help="1 to 100; keep: a JPEG keeps its quantisation tables and subsampling.",
)  # fmt: skip
@click.option("--on-exists", type=click.Choice(ON_EXISTS), default="skip", show_default=True, help="Existing results.")
@click.option("--strip-gps", is_flag=True, help="Leave out where the photo was taken.")
@click.option("--max-pixels", type=int, default=200_000_000, show_default=True, help="Larger pictures are refused.")
@click.option(
    "--verify", metavar="SHARE", default="5%", show_default=True, callback=options.share,
    help="all, a percentage or none: results that are decoded again and measured.",
)  # fmt: skip
@click.option(
    "--check", "n_check", metavar="N", type=click.IntRange(0), default=8, show_default=True,
    help="Run N results through the deepfake models; 0 turns it off.",
)  # fmt: skip
@click.option("--check-min", type=click.FloatRange(0, 1), metavar="SHARE", help="Exit with 4 if fewer are protected.")
@click.option(
    "--batch", metavar="N", default="auto", show_default=True, callback=options.auto_or_count, help="Faces a call."
)
@click.option(
    "--workers", metavar="N", default="auto", show_default=True, callback=options.auto_or_count, help="Threads."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@click.option(
    "--config", metavar="FILE.toml", type=_FILE, is_eager=True, expose_value=False, callback=from_file,
    help="Options by their names; the command line wins.",
)  # fmt: skip
@click.option("--verbose", "-v", is_flag=True, help="A line for every file.")
@options.json_output
@options.quiet
def command(
    sources: tuple[str, ...],
    out: Path,
    strength: float,
    generator: str,
    backend: str,
    device: str,
    detector: str,
    detector_model: Path | None,
    no_face: str,
    form: str,
    quality: int | None,
    on_exists: str,
    strip_gps: bool,
    max_pixels: int,
    verify: float,
    n_check: int,
    check_min: float | None,
    batch: int | None,
    workers: int | None,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Protect photos against deepfake models.

    SOURCE is a file, a folder (with all that is in it) or a glob; --out mirrors the tree. Inputs are never touched. The
    same command again goes on where a run was stopped. DIR/dadfi-manifest.jsonl has a line for every input.
    """
    from dadfi_fast.faces.detector import choose_detector

    find, reason = choose_detector(detector, model=detector_model)
    config = ProtectConfig(
        sources=sources,
        out=out,
        strength=strength,
        detector=find.name,
        no_face=no_face,
        format=form,
        quality=quality,
        strip_gps=strip_gps,
        on_exists=on_exists,
        max_pixels=max_pixels,
        verify=verify,
        batch=batch,
        workers=workers,
    )
    run = _Run(config, find, f"{find.name} ({reason})", generator, backend, device, quiet=quiet, verbose=verbose)
    if dry_run:
        run.plan(as_json=as_json)
        return
    summary = run.protect(samples=n_check)
    verdict = run.check() if n_check and not summary.interrupted else None
    run.report(summary, verdict, as_json=as_json)
    _judge(summary, verdict, check_min)


class _Run:
    """One call of the command: what was chosen, and what it says to the user."""

    def __init__(
        self,
        config: ProtectConfig,
        detector: Detector,
        faces_by: str,
        generator: str,
        backend: str,
        device: str,
        *,
        quiet: bool,
        verbose: bool,
    ) -> None:
        from dadfi_fast.backends.artifact import load_artifact
        from dadfi_fast.backends.choice import choose

        self.config, self.detector, self.faces_by = config, detector, faces_by
        self.device = "cpu" if device == "auto" else device
        self.artifact: Artifact = load_artifact(generator)
        self.backend, self.why = choose(backend, device=self.device)
        self.say: Callable[[str], None] = (lambda _: None) if quiet else console.message
        self.quiet, self.verbose = quiet, verbose
        self.sample = _Sample(0)

    def plan(self, *, as_json: bool) -> None:
        """Say what would be done."""
        from dadfi_fast.protect.plan import plan

        rows = plan(self.config, self._facts(self.backend.name))
        if as_json:
            console.json({"plan": (found := list(rows)), "total": len(found)})
            return
        total = 0
        for row in rows:
            total += 1
            console.result(f"{row['action']:8}{row['source']}{_arrow(row)}")
        if not total:
            raise NothingToDo(f"there is no file in {', '.join(self.config.sources)}")

    def protect(self, *, samples: int) -> Summary:
        """Do it."""
        from dadfi_fast.attacks.generator import GeneratorAttack
        from dadfi_fast.protect.memory import keep
        from dadfi_fast.protect.pipeline import protect
        from dadfi_fast.types import Budget

        keep()
        running = self.backend(self.artifact, device=self.device, threads=self.config.generator_threads)
        facts = self._facts(running.describe)
        self.say(f"{self.artifact.name} on {facts.backend}; faces by {self.faces_by}")
        self.sample = _Sample(samples)
        with console.progress(self._count(), quiet=self.quiet) as progress:

            def tick(outcome: Outcome) -> None:
                progress.advance()
                self.sample.add(self.config.out, outcome)
                if self.verbose:
                    self.say(_line(outcome))

            attack = GeneratorAttack(running, Budget(self.config.strength))
            return protect(self.config, detector=self.detector, attack=attack, facts=facts, tick=tick)

    def check(self) -> Verdict | None:
        """Run the sample through the deepfake models."""
        from dadfi_fast.check.verdict import check_files

        pairs = self.sample.pairs
        if not pairs:
            self.say("no protected photo to check")
            return None
        with console.progress(len(pairs), "files checked", quiet=self.quiet) as progress:
            return check_files(pairs, detector=self.detector, tick=progress.advance)

    def report(self, summary: Summary, verdict: Verdict | None, *, as_json: bool) -> None:
        """The result, on stdout."""
        if as_json:
            found = {**summary.to_dict(), "out": self.config.out, "config": self.config.fingerprint}
            console.json({**found, "check": verdict and verdict.to_dict()})
            return
        if verdict is not None:
            console.table(verdict.COLUMNS, verdict.rows())
            console.result(verdict.sentence())
        counts = {name: getattr(summary, name) for name in ("written", "copied", "skipped", "failed", "done")}
        names = {"written": "protected", "copied": "copied without a face", "done": "done before"}
        console.result(", ".join(f"{n} {names.get(name, name)}" for name, n in counts.items() if n) or "nothing done")
        for source, error in summary.failures:
            console.error(f"{source}: {error}")

    def _facts(self, backend: str) -> Facts:
        from dadfi_fast.protect.manifest import Facts

        return Facts(self.config.fingerprint, self.artifact.sha256, f"{backend}: {self.why}")

    def _count(self) -> int | None:
        """How many inputs there are: a walk over names, which takes a small part of a run's time."""
        from dadfi_fast.protect.find import find

        if self.quiet:
            return None
        return sum(1 for _ in find(self.config.sources, self.config.out, form=self.config.format))


class _Sample:
    """Some of the protected files, spread evenly over a run of unknown length, and the same ones in the same run."""

    def __init__(self, size: int) -> None:
        import random

        self.pairs: list[tuple[Path, Path]] = []
        self._size, self._seen, self._random = size, 0, random.Random(0)

    def add(self, out: Path, outcome: Outcome) -> None:
        """Take the file into the sample, or not (reservoir sampling; Vitter 1985, algorithm R)."""
        from dadfi_fast.protect.outcome import Done, Written

        if not (isinstance(outcome, Written) or (isinstance(outcome, Done) and outcome.status == "written")):
            return
        pair = outcome.entry.source, out / (outcome.target or "")
        self._seen += 1
        if len(self.pairs) < self._size:
            self.pairs.append(pair)
        elif (place := self._random.randrange(self._seen)) < self._size:
            self.pairs[place] = pair


def _line(outcome: Outcome) -> str:
    """One file's outcome for people."""
    from dadfi_fast.protect.outcome import Copied, Done, Failed, Skipped, Written

    name = outcome.entry.name
    if isinstance(outcome, Written):
        faces = f"{len(outcome.faces)} face{'s' * (len(outcome.faces) != 1)}"
        return f"written {name} -> {outcome.target}: {faces}, {outcome.linf} levels"
    if isinstance(outcome, Failed):
        return f"failed  {name}: {outcome.hop}: {outcome.error}"
    if isinstance(outcome, Done):
        return f"done    {name}"
    word = {Copied: "copied ", Skipped: "skipped"}[type(outcome)]
    return f"{word} {name}: {outcome.reason}"


def _arrow(row: dict[str, Any]) -> str:
    return f" -> {row['target']}" if row["target"] else f": {row['reason']}"


def _judge(summary: Summary, verdict: Verdict | None, check_min: float | None) -> None:
    """End with the exit code that the run calls for."""
    if summary.interrupted:
        raise KeyboardInterrupt
    if verdict is not None and check_min is not None and verdict.sr_all() < check_min:
        raise CheckFailed(f"only {verdict.sr_all():.1%} of the checked files are protected, not {check_min:.1%}")
    if not summary.pictures:
        raise NothingToDo(f"there is no picture among the {summary.total} files")
    if summary.failed:
        raise DadfiError(f"{summary.failed} of {summary.total} files failed; the manifest says why, file by file")
