"""``dadfi-fast protect``: photos in, protected photos out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.field_options import fields_as_options, sections_of, take
from dadfi_fast.cli.protect.config_file import from_file
from dadfi_fast.cli.protect.engine import ENGINES, Engine
from dadfi_fast.cli.protect.run import Run
from dadfi_fast.cli.report import Reporter
from dadfi_fast.cli.report import option as report_option
from dadfi_fast.errors import CheckFailed, DadfiError, NothingToDo, UsageError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.interrupt import deadline
from dadfi_fast.protect.option import CHANGED, REPORTED, RUN, WRITTEN, option

if TYPE_CHECKING:
    from dadfi_fast.check.result import CheckResult
    from dadfi_fast.protect.summary import Summary


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command is asked for beyond `ProtectConfig`; fields without a help text are shared with other commands.

    Raises:
        UsageError: two options do not go together.
    """

    generator: str = option(
        "generator-s", section=CHANGED, metavar="NAME", help="Name of the generator, or its ONNX file."
    )
    detector: str = option(section=CHANGED)
    detector_model: Path | None = option(section=CHANGED)
    dry_run: bool = option(False, section=WRITTEN, help="Print what would be done and write nothing.")
    config: Path | None = option(None, section=RUN)  # read before all others, and not kept
    backend: str = option(section=RUN)
    device: str = option(section=RUN)
    processes: int | None = option(
        None, section=RUN, metavar="N", shown="auto", form="count or auto",
        help="Number of worker processes. auto: one per GPU (on a GPU), as many as fit (--engine ray), otherwise one.",
    )  # fmt: skip
    engine: str = option("local", section=RUN, choices=ENGINES, help="Where to run: this machine, or a Ray cluster.")
    ray_address: str | None = option(
        None, section=RUN, metavar="ADDRESS",
        help="Address of the Ray cluster.  [default: RAY_ADDRESS, or a new cluster on this machine]",
    )  # fmt: skip
    watch: bool = option(
        False, section=RUN, help="Keep running and protect new or changed files until Ctrl-C. Skips the check."
    )
    interval: float = option(
        2.0, section=RUN, metavar="SECONDS", low=0, exclusive=True,
        help="Seconds between --watch scans. A file is processed once it is unchanged between two scans.",
    )  # fmt: skip
    check: int = option(
        8, section=REPORTED, metavar="N", low=0,
        help="After the run, check N of the results against the deepfake models; 0: no check.",
    )  # fmt: skip
    check_min: float | None = option(
        None, section=REPORTED, metavar="SHARE", low=0, high=1,
        help="Exit with code 4 if a smaller share of the checked files is protected against every model (SR_all, 0 to "
        "1).",
    )  # fmt: skip
    report: Path | None = option(section=REPORTED)
    profile: Path | None = option(
        None, section=REPORTED, metavar="FILE.json",
        help="Write a trace of all threads, for ui.perfetto.dev or chrome://tracing.",
    )  # fmt: skip
    verbose: bool = option(False, section=REPORTED, flag="--verbose,-v", help="Print a line for every file.")
    as_json: bool = option(section=REPORTED)
    quiet: bool = option(section=REPORTED)

    def validate(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: the message names them.
        """
        if self.watch:
            if self.dry_run:
                raise UsageError("--watch and --dry-run cannot be combined")
            if self.check_min is not None or self.report:
                raise UsageError("--watch skips the check. Remove --check-min and --report.")
            if self.profile:
                raise UsageError("--profile and --watch cannot be combined")
        elif not self.dry_run and self.report and not self.check:
            raise UsageError("--report needs the check. Remove --check 0.")


class _Protect(options.Sectioned):
    sections: ClassVar = sections_of(ProtectConfig, Request)
    removed: ClassVar = {
        "--trailer": "Data appended to a JPEG, such as the video of a motion photo, shows the unprotected face and is "
        "always dropped. The original still has it."
    }


@click.command("protect", cls=_Protect)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@fields_as_options(ProtectConfig, Request)
@options.backend
@options.detector
@report_option
@click.option(
    "--config", metavar="FILE.toml", type=click.Path(exists=True, dir_okay=False, path_type=Path), is_eager=True,
    expose_value=False, callback=from_file,
    help="Read options from a TOML file, under their long names; the command line takes precedence.",
)  # fmt: skip
@options.json_output
@options.quiet
def command(sources: tuple[str, ...], **values: Any) -> None:
    """Protect photos against deepfake models.

    SOURCE is a file, a folder (searched recursively) or a glob; --out mirrors the tree. Both may be object-store URLs
    (s3://, gs://; see docs/cluster.md). Inputs are never modified. Run the same command again to resume an interrupted
    run. DIR/dadfi-manifest.jsonl has one line per input.

    Reads and writes JPEG, PNG, WebP, TIFF, BMP, AVIF and HEIC (HEIC needs the extra heif), including 16-bit PNG and
    TIFF; GIF and JPEG 2000 become PNG; camera raw files are refused. Files are recognised by content, not by name.
    Orientation is applied. EXIF, XMP, IPTC, comments, colours, resolution and transparency are preserved; whatever the
    output format cannot hold is listed in the manifest (docs/formats.md). Embedded previews are removed, because they
    show the unprotected face.

    Exit codes: 0 all done; 1 some files failed, the others are written; 2 wrong usage; 3 nothing to do; 4 the result of
    the check is below --check-min; 130 interrupted.
    """
    from dadfi_fast.api import Protector
    from dadfi_fast.protect.gpu.decoder import choose_decoder
    from dadfi_fast.protect.gpu.stages import describe

    settings = take(ProtectConfig, values)
    request = Request(**values)
    request.validate()
    protector = Protector(
        request.generator, settings.pop("strength"), request.backend, request.device, request.detector,
        detector_model=request.detector_model, small_faces=settings.pop("small_faces"),
    )  # fmt: skip
    decoder = settings.pop("decoder")
    decoder = "cpu" if settings["refine"] and decoder == "auto" else decoder  # the GPU's own pipeline refines nothing
    decoder, reason = choose_decoder(decoder, device=protector.parts.chosen_device[0])
    config = protector.config(sources, decoder=decoder, **settings)
    engine = Engine(name=request.engine, address=request.ray_address, processes=request.processes)
    run = Run(config, protector, quiet=request.quiet, verbose=request.verbose, engine=engine)
    context = click.get_current_context()
    if request.engine != "ray":  # a cluster takes what time it takes
        context.with_resource(deadline())
    context.call_on_close(run.close)
    options.chosen_device(request.backend, request.device, quiet=request.quiet)
    if config.decoder != "cpu" and not engine.elsewhere:
        decodes = describe(config, protector.parts.chosen_backend[0], protector.parts.chosen_detector[0])
        run.say(f"{decodes} ({reason})")
    if request.watch:
        _watch(run, request.interval, as_json=request.as_json)
    elif request.dry_run:
        run.plan(as_json=request.as_json)
    else:
        _protect(run, request)


def _protect(run: Run, request: Request) -> None:
    """Protect the files, check a sample, report."""
    reporter = Reporter(request.report)
    summary = run.protect(samples=request.check, profile=request.profile)
    result = run.check(reporter) if request.check and not summary.interrupted else None
    run.report(summary, result, as_json=request.as_json)
    if result is not None:
        reporter.write(result, say=run.say)
    _judge(summary, result, request.check_min)


def _watch(run: Run, interval: float, *, as_json: bool) -> None:
    """Protect what comes, until Ctrl-C, which is how this ends and no fault."""
    from dadfi_fast.protect.interrupt import interruptible
    from dadfi_fast.protect.summary import Summary
    from dadfi_fast.protect.watch import rounds

    total = Summary()
    run.prepare()  # before Ctrl-C becomes a wish to finish, as there is nothing to finish yet
    with interruptible() as stop:
        run.say(f"watching {', '.join(run.config.sources)} every {interval:g} s; press Ctrl-C to stop")
        for watched in rounds(run.config, interval=interval, stop=stop):
            summary = run.protect(samples=0, watched=watched)
            for source, error in summary.failures:
                console.error(f"{source}: {error}")
            total.absorb(summary)
            if summary.interrupted:
                break
    total.interrupted, total.failures = False, total.failures if as_json else []
    run.report(total, None, as_json=as_json)
    if total.failed:
        raise DadfiError(f"{total.failed} files failed. The manifest has the reason for each.")


def _judge(summary: Summary, result: CheckResult | None, check_min: float | None) -> None:
    """End with the exit code that the run calls for."""
    if summary.interrupted:
        raise KeyboardInterrupt
    if result is not None and check_min is not None and result.sr_all() < check_min:
        raise CheckFailed(
            f"only {result.sr_all():.1%} of the checked files are protected against every model,"
            f" below --check-min {check_min:.1%}"
        )
    if not summary.pictures:
        raise NothingToDo(f"no image found among the {summary.total} files")
    if summary.failed:
        raise DadfiError(f"{summary.failed} of {summary.total} files failed. The manifest has the reason for each.")
