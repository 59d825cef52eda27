"""``dadfi-fast bench``: how fast this machine protects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.bench.growth import growth
from dadfi_fast.cli.bench.profile import profile
from dadfi_fast.cli.bench.scale import photos_in, scale
from dadfi_fast.errors import UsageError

if TYPE_CHECKING:
    from dadfi_fast.bench.rows import Row

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("bench")
def command() -> None:
    """Measure speed on this machine."""


command.add_command(scale)
command.add_command(growth)
command.add_command(profile)


@command.command("throughput")
@click.option("--photos", type=_FOLDER, metavar="DIR", help="Folder of photos to run on.  [default: examples/photos]")
@click.option("--count", type=click.IntRange(1), default=32, show_default=True, help="Number of photos per round.")
@click.option("--repeats", type=click.IntRange(1), default=9, show_default=True, help="Number of rounds.")
@click.option(
    "--workers",
    metavar="auto|N",
    default="auto",
    show_default=True,
    callback=options.auto_or_count,
    help="Number of threads, and of processes of the pillow baseline.",
)
@click.option(
    "--generator", metavar="NAME|FILE.onnx", help="Name of the generator, or its ONNX file.  [default: generator-s]"
)
@options.backend
@click.option(
    "--preset",
    "presets",
    type=click.Choice(["s", "m", "l"]),
    multiple=True,
    help="Also measure a generator of this preset with random weights (--backend all).",
)
@options.detector
@click.option("--engines", is_flag=True, help="Also measure two processes, and Ray on this machine.")
@click.option("--scratch", type=_FOLDER, metavar="DIR", help="Folder for temporary files.  [default: the system's]")
@options.rows_to
@options.quiet
def throughput(
    target: Path | None, quiet: bool, repeats: int, backend: str, presets: tuple[str, ...], **settings: Any
) -> None:
    """Measure the generator, each stage and whole runs against baselines.

    Rates are the 20th, 50th and 80th percentile over the rounds. Every round runs every case once, so a busy
    machine slows all of them equally; ratios are taken within a round.

    \b
    generator  crops already in memory; this is not photos per second
    memory     encoded bytes to encoded bytes
    disk       protect, from folder to folder, including verification
    stage ...  one stage alone, with all threads, and its share of the time per photo
    feed       the decoders side by side, on the JPEGs among the photos
    engine     disk to disk by one process, by several, and by Ray, with --engines
    copy       baseline: decode and encode with our codecs, memory to memory, no model
    pillow     baseline: Image.open().save() at the same quality, in the same number of processes
    cmua       baseline: a precomputed watermark through the same pipeline as disk
    time: ...  time per photo from disk to disk, relative to the sum of the stages (1: no core ever waits) and to
               the slowest stage (1: all other stages are free)

    With --backend all only the generator is measured: every backend in every precision, torch.compile and int8, with
    their difference from float32 PyTorch and the speedup of the default over each.
    """
    from dadfi_fast.bench.rows import append
    from dadfi_fast.cli.bench.providers import side_by_side

    if presets and backend != "all":
        raise UsageError("--preset is for --backend all")
    if backend == "all":
        rows = side_by_side(repeats=repeats, quiet=quiet, presets=presets, **_some(settings))
    else:
        rows = _measure(repeats=repeats, quiet=quiet, backend=backend, **settings)
    console.table(("case", "provider", "unit", "p20", "p50", "p80", "n", "note"), [_line(row) for row in rows])
    if target is not None:
        append(target, rows)


def _some(settings: dict[str, Any]) -> dict[str, Any]:
    """What matters to the generator alone."""
    return {
        "photos": photos_in(settings["photos"]),
        "generator": settings["generator"],
        "device": settings["device"],
        "scratch": settings["scratch"],
    }


def _measure(
    *,
    photos: Path | None,
    count: int,
    repeats: int,
    workers: int | None,
    engines: bool,
    scratch: Path | None,
    quiet: bool,
    **names: Any,
) -> list[Row]:
    from tempfile import TemporaryDirectory

    from dadfi_fast.bench.throughput import ThroughputSetup, prepare
    from dadfi_fast.cli.progress import show_progress

    parts = options.assembly(names)
    setup = ThroughputSetup(photos=photos_in(photos), parts=parts, count=count, workers=workers, engines=engines)
    with TemporaryDirectory(prefix="dadfi-bench-", dir=scratch) as folder, prepare(setup, Path(folder)) as bench:
        if not quiet:
            options.chosen_device(parts.backend, parts.device)
            console.message(f"generator on {bench.backends.chosen.describe}; detector: {parts.faces_by}")
            for why in bench.backends.missing:
                console.message(f"not measured: {why}")
        with show_progress(len(bench.cases) * (repeats + 1), "cases", quiet=quiet) as progress:
            return bench.run(repeats=repeats, tick=progress.advance)


def _line(row: Row) -> tuple[object, ...]:
    return row.case, row.provider, row.unit, row.p20, row.p50, row.p80, row.n, _note(row)


def _note(row: Row) -> str:
    if "share" in row.config:
        return f"{row.config['share']:.0%} of the time{', the slowest stage' if row.config['slowest'] else ''}"
    if "largest_difference_levels" in row.config:
        rms = f" (rms {row.config['rms_difference_levels']:.2g})" if "rms_difference_levels" in row.config else ""
        return f"outputs at most {row.config['largest_difference_levels']:.2g} levels apart{rms}"
    if "share_of_copy" in row.config:
        return f"{row.config['share_of_copy']:.0%} of a copy, {row.config['microseconds']:.4g} us"
    return ""


@command.command("kernels")
@options.device
@click.option(
    "--preset", type=click.Choice(["s", "m", "l"]), default="s", show_default=True, help="Preset of the generator."
)
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(1),
    multiple=True,
    default=[8],
    show_default=True,
    help="Number of crops per call; repeatable.",
)
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(["f32", "f16", "bf16"]),
    multiple=True,
    help="Data type of the planes; repeatable.  [default: f32 on cpu; f32 and f16 on cuda]",
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=9,
    show_default=True,
    help="Number of rounds; 100 times as many on cuda.",
)
@options.rows_to
@options.quiet
def kernels(
    *,
    device: str,
    preset: str,
    batches: tuple[int, ...],
    dtypes: tuple[str, ...],
    repeats: int,
    target: Path | None,
    quiet: bool,
) -> None:
    """Measure the fused operation of the generator.

    It is instance norm, ReLU and residual addition, with the shapes that the generator uses. Every implementation is
    checked against float64 before it is timed. Rates are gigabytes per second of the memory traffic it needs, at the
    20th, 50th and 80th percentile; the note gives the share of a plain memory copy, measured alongside.

    On an NVIDIA GPU: each version of our kernel, and PyTorch's own implementation. Without one, the CPU
    implementations: PyTorch's, plain arithmetic, and torch.compile if there is a C++ compiler.
    """
    from dadfi_fast.bench.rows import append
    from dadfi_fast.cli.bench.kernels import measure

    rows = measure(device=device, preset=preset, batches=batches, dtypes=dtypes, repeats=repeats, quiet=quiet)
    console.table(("case", "provider", "unit", "p20", "p50", "p80", "n", "note"), [_line(row) for row in rows])
    if target is not None:
        append(target, rows)
