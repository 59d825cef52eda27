"""``dadfi-fast protect``: photos in, protected photos out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.protect_config import from_file
from dadfi_fast.cli.protect_engine import ENGINES, Engine
from dadfi_fast.cli.protect_run import Run
from dadfi_fast.cli.report import Reporter
from dadfi_fast.cli.report import options as report_options
from dadfi_fast.errors import CheckFailed, DadfiError, NothingToDo, UsageError
from dadfi_fast.protect.config import (
    ANIMATED,
    DECODERS,
    FORMATS,
    NO_FACE,
    ON_EXISTS,
    SMALL_FACES,
    TRAILER,
    ProtectConfig,
)
from dadfi_fast.storage.paths import AnyPath, parse_path

if TYPE_CHECKING:
    from dadfi_fast.check.result import CheckResult
    from dadfi_fast.protect.summary import Summary

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _quality(_ctx: click.Context, _param: click.Parameter, value: str) -> int | None:
    if value == "keep":
        return None
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither 'keep' nor a number from 1 to 100")
    return int(value)


def _out(_ctx: click.Context, _param: click.Parameter, value: str | None) -> AnyPath | None:
    return None if value is None else parse_path(value)  # None: `config show` asks without one


class _Protect(options.Sectioned):
    sections: ClassVar = {
        "What is changed": (
            "strength", "generator", "detector", "detector_model", "small_faces", "no_face", "animated", "again",
        ),
        "What is written": (
            "out", "form", "quality", "on_exists", "strip_gps", "trailer", "mark", "times", "dry_run",
        ),
        "How it runs": (
            "config", "backend", "device", "decoder", "batch", "workers", "processes", "engine", "ray_address",
            "max_pixels", "watch", "interval",
        ),
        "What is measured and said": (
            "verify", "n_check", "check_min", "report", "figures", "profile", "verbose", "as_json", "quiet",
        ),
    }  # fmt: skip


@click.command("protect", cls=_Protect)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--out", metavar="DIR", required=True, callback=_out, help="Where the results go: a folder or a URL.")
@click.option("--strength", type=float, default=0.05, show_default=True, help="Largest change, 0.01 to 0.1 of [-1, 1].")
@click.option(
    "--generator", metavar="NAME", default="generator-s", show_default=True, help="Its name, or an ONNX file."
)
@options.backend
@options.detector
@click.option(
    "--decoder", type=options.Choice(DECODERS), default="auto", show_default=True,
    help="cpu: simplejpeg and Pillow. dali: JPEGs by NVIDIA DALI, in batches, on the --device. auto: dali on a GPU.",
)  # fmt: skip
@click.option(
    "--small-faces", type=options.Choice(SMALL_FACES), default="auto", show_default=True,
    help="Look for faces from 40 px on, in tiles where it is large. auto: not beside faces that take 35 % of the "
    "photo's longer side.",
)  # fmt: skip
@click.option(
    "--no-face", type=options.Choice(NO_FACE), default="copy", show_default=True, help="Photos without a face."
)
@click.option(
    "--format", "form", type=options.Choice(FORMATS), default="keep", show_default=True, help="Of the results."
)
@click.option(
    "--quality", metavar="N", default="keep", show_default=True, callback=_quality,
    help="1 to 100; keep: a JPEG keeps its quantisation tables and subsampling.",
)  # fmt: skip
@click.option(
    "--on-exists", type=options.Choice(ON_EXISTS), default="skip", show_default=True, help="Existing results."
)
@click.option("--strip-gps", is_flag=True, help="Leave out where the photo was taken.")
@click.option(
    "--trailer", type=options.Choice(TRAILER), default="drop", show_default=True,
    help="What phones put behind a JPEG: the film of a motion photo, depth maps, further pictures. They show the face "
    "as it was.",
)  # fmt: skip
@click.option(
    "--animated", type=options.Choice(ANIMATED), default="refuse", show_default=True,
    help="Files of several frames or pages: refuse them, or protect the first and write it alone.",
)  # fmt: skip
@click.option("--again", is_flag=True, help="Protect photos once more that carry the mark of a protected one.")
@click.option(
    "--mark/--no-mark", default=True, show_default=True,
    help="Say in a result's metadata (XMP) that it is protected, so that it is not protected twice.",
)  # fmt: skip
@click.option(
    "--times/--no-times", default=True, show_default=True,
    help="Give each result the modification time and the permissions of its source.",
)  # fmt: skip
@click.option(
    "--max-pixels", metavar="N", type=int, default=200_000_000, show_default=True, help="Larger pictures are refused."
)
@click.option(
    "--verify", metavar="SHARE", default="5%", show_default=True, callback=options.share,
    help="all, a percentage or none: results that are decoded again and measured.",
)  # fmt: skip
@click.option(
    "--check", "n_check", metavar="N", type=click.IntRange(0), default=8, show_default=True,
    help="Run N results through the deepfake models; 0 turns it off.",
)  # fmt: skip
@click.option(
    "--check-min", type=click.FloatRange(0, 1), metavar="SHARE", help="Exit with 4 if every model fails on fewer."
)
@report_options
@click.option(
    "--profile", metavar="FILE.json", type=click.Path(dir_okay=False, path_type=Path),
    help="Write what every thread did when, for ui.perfetto.dev or chrome://tracing.",
)  # fmt: skip
@click.option(
    "--batch", metavar="N", default="auto", show_default=True, callback=options.auto_or_count,
    help="Faces a call; auto: tried for a second where there are 1000 files or more.",
)  # fmt: skip
@click.option(
    "--workers", metavar="N", default="auto", show_default=True, callback=options.auto_or_count,
    help="Threads; auto: the same.",
)  # fmt: skip
@click.option(
    "--engine", type=options.Choice(ENGINES), default="local", show_default=True, help="This machine, or a Ray cluster."
)
@click.option(
    "--ray-address", metavar="ADDRESS", help="Of the cluster.  [default: RAY_ADDRESS, or a cluster of its own here]"
)
@click.option(
    "--processes", metavar="N", default="auto", show_default=True, callback=options.auto_or_count,
    help="That share the work; auto: one for each GPU with --device cuda, as many as there is room for with "
    "--engine ray, else one.",
)  # fmt: skip
@click.option("--watch", is_flag=True, help="Go on, and protect what is new or changed, until Ctrl-C. Without a check.")
@click.option(
    "--interval", metavar="SECONDS", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True,
    help="Between two looks of --watch; a file is taken once it was the same at two.",
)  # fmt: skip
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
    out: AnyPath,
    strength: float,
    generator: str,
    backend: str,
    device: str,
    detector: str,
    detector_model: Path | None,
    decoder: str,
    small_faces: str,
    no_face: str,
    form: str,
    quality: int | None,
    on_exists: str,
    strip_gps: bool,
    trailer: str,
    animated: str,
    again: bool,
    mark: bool,
    times: bool,
    max_pixels: int,
    verify: float,
    n_check: int,
    check_min: float | None,
    report: Path | None,
    figures: Path | None,
    profile: Path | None,
    batch: int | None,
    workers: int | None,
    engine: str,
    ray_address: str | None,
    processes: int | None,
    watch: bool,
    interval: float,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Protect photos against deepfake models.

    SOURCE is a file, a folder (with all that is in it) or a glob; --out mirrors the tree. Both may be URLs of a store
    (s3://, gs://; docs/cluster.md). Inputs are never touched. The same command again goes on where a run was stopped.
    DIR/dadfi-manifest.jsonl has a line for every input.

    Reads and writes JPEG, PNG, WebP, TIFF, BMP, AVIF and HEIC (the last with the extra heif), PNG and TIFF also with
    16 bits; GIF and JPEG 2000 become PNG; camera raw files are refused. A file is known by its content, not its name.
    Orientation is applied; EXIF, XMP, IPTC, comments, colours, resolution and transparency are carried over, and what
    a format has no place for is named in the manifest (docs/formats.md). Embedded previews are left out, as they show
    the face as it was.

    Exit codes: 0 all done; 1 some files failed, the others are written; 2 wrong usage; 3 nothing to do; 4 the check
    found every model to fail on fewer files than --check-min; 130 interrupted.
    """
    from dadfi_fast.faces.detector import choose_detector
    from dadfi_fast.protect.gpu.decoder import choose_decoder
    from dadfi_fast.protect.gpu.stages import describe

    find, reason = choose_detector(detector, model=detector_model, small_faces=small_faces)
    device = "cpu" if device == "auto" else device
    decodes, decoded_by = choose_decoder(decoder, device=device)
    config = ProtectConfig(
        sources=sources,
        out=out,
        strength=strength,
        detector=find.name,
        small_faces=small_faces,
        no_face=no_face,
        format=form,
        quality=quality,
        strip_gps=strip_gps,
        trailer=trailer,
        animated=animated,
        again=again,
        mark=mark,
        times=times,
        on_exists=on_exists,
        max_pixels=max_pixels,
        verify=verify,
        batch=batch,
        workers=workers,
        decoder=decodes,
        device=device,
    )
    run = Run(
        config, find, f"{find.name} ({reason})", generator, backend, device, quiet=quiet, verbose=verbose,
        engine=Engine(name=engine, address=ray_address, processes=processes), detector_model=detector_model,
    )  # fmt: skip
    click.get_current_context().call_on_close(run.close)
    if decodes != "cpu" and not run.engine.elsewhere:
        run.say(f"{describe(config, run.backend, find)} ({decoded_by})")
    if watch:
        if dry_run:
            raise UsageError("--watch and --dry-run cannot be combined")
        if check_min is not None or report or figures:
            raise UsageError("--watch skips the check. Remove --check-min, --report and --figures.")
        if profile:
            raise UsageError("--profile and --watch cannot be combined")
        _watch(run, interval, as_json=as_json)
        return
    if dry_run:
        run.plan(as_json=as_json)
        return
    if (report or figures) and not n_check:
        raise UsageError("--report and --figures need the check. Remove --check 0.")
    reporter = Reporter(report, figures)
    summary = run.protect(samples=n_check, profile=profile)
    verdict = run.check(reporter) if n_check and not summary.interrupted else None
    run.report(summary, verdict, as_json=as_json)
    if verdict is not None:
        reporter.write(verdict, say=run.say)
    _judge(summary, verdict, check_min)


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


def _judge(summary: Summary, verdict: CheckResult | None, check_min: float | None) -> None:
    """End with the exit code that the run calls for."""
    if summary.interrupted:
        raise KeyboardInterrupt
    if verdict is not None and check_min is not None and verdict.sr_all() < check_min:
        raise CheckFailed(f"every model fails on only {verdict.sr_all():.1%} of the checked files, not {check_min:.1%}")
    if not summary.pictures:
        raise NothingToDo(f"no image found among the {summary.total} files")
    if summary.failed:
        raise DadfiError(f"{summary.failed} of {summary.total} files failed. The manifest has the reason for each.")
