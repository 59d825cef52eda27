"""``dadfi-fast bench defence``: how well photos are defended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.bench_scale import photos_in

if TYPE_CHECKING:
    from dadfi_fast.bench.defence import Setup
    from dadfi_fast.bench.photos import Photos
    from dadfi_fast.bench.rows import Row
    from dadfi_fast.bench.setup import BenchSetup
    from dadfi_fast.protect.assembly import Assembly

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("defence")
@click.option("--photos", type=_FOLDER, metavar="DIR", help="Folder of photos to run on.  [default: examples/photos]")
@click.option("--count", type=click.IntRange(1), default=32, show_default=True, help="Largest number of photos.")
@click.option(
    "--strength",
    type=click.FloatRange(0.01, 0.1),
    default=0.05,
    show_default=True,
    help="Largest change on the [-1, 1] scale.",
)
@click.option(
    "--generator", metavar="NAME|FILE.onnx", help="Name of the generator, or its ONNX file.  [default: generator-s]"
)
@options.models
@click.option(
    "--also", multiple=True, callback=options.listed, metavar="KIND:VALUE,...",
    help="Also measure the files after a change, in separate rows: jpeg:75, resize:0.5, blur:3.",
)  # fmt: skip
@options.backend
@options.detector
@click.option(
    "--scratch",
    type=_FOLDER,
    metavar="DIR",
    help="Folder for temporary files.  [default: the system's temporary folder]",
)
@options.rows_to
@options.quiet
def defence(target: Path | None, scratch: Path | None, quiet: bool, **settings: Any) -> None:
    """Measure how well photos are defended: the distances between fakes, beside those of noise.

    The photos are protected into files, in their own formats, and judged as check does it. Photos without a face are
    left out. evaluate measures more, on archives of faces.

    \b
    MODEL CONDITION  d_mask, the 20th, 50th and 80th percentile over the fakes, n of them; above 0.05 a fake is
                     visibly broken, and the note says how many are
    seen             what can be seen of the change, over the files: PSNR in dB, and the largest change in levels
    noise            control: uniform noise of the same strength, written likewise

    Example: dadfi-fast bench defence --photos ./photos --also jpeg:75,resize:0.5
    """
    from tempfile import TemporaryDirectory

    from dadfi_fast.bench import defence as bench
    from dadfi_fast.bench.rows import append

    with TemporaryDirectory(prefix="dadfi-defence-", dir=scratch) as folder:
        parts = options.assembly(settings)
        setup = _setup(Path(folder), parts, **settings)
        if not quiet:
            options.chosen_device(parts.backend, parts.device)
            console.message(f"generator on {setup.bench_setup.provider}; {len(setup.photos.files)} photos")
        with console.progress(bench.files(setup.photos), "files", quiet=quiet) as progress:
            rows = bench.measure(setup, tick=progress.advance)
    console.table(("case", "provider", "unit", "p20", "p50", "p80", "n", "note"), [_line(row) for row in rows])
    if target is not None:
        append(target, rows)


def _setup(
    scratch: Path, parts: Assembly, *, photos: Path | None, count: int, strength: float, models: tuple[str, ...],
    also: tuple[str, ...],
) -> Setup:  # fmt: skip
    from dadfi_fast.bench.defence import Setup
    from dadfi_fast.bench.photos import gather
    from dadfi_fast.check.conditions import parse
    from dadfi_fast.deepfakes import registry

    return Setup(
        photos=(found := gather(photos_in(photos), scratch / "photos", count=count, repeat=False)),
        bench_setup=_bench_setup(found, scratch / "out", strength, parts),
        models=registry.load_models(models),
        classifier=registry.load_attributes(),
        conditions=[parse(text) for text in also],
    )


def _bench_setup(photos: Photos, out: Path, strength: float, parts: Assembly) -> BenchSetup:
    from dadfi_fast.bench.setup import BenchSetup
    from dadfi_fast.protect.config import ProtectConfig

    find, _ = parts.chosen_detector
    config = ProtectConfig(
        sources=(str(photos.folder),), out=out, strength=strength, detector=find.name, no_face="skip", verify=0.0
    )
    return BenchSetup(config, find, parts.attack(strength))


def _line(row: Row) -> tuple[object, ...]:
    broken = f"{row.config['sr_mask']:.1%} visibly broken (SR_mask)" if "sr_mask" in row.config else ""
    return row.case, row.provider, row.unit, row.p20, row.p50, row.p80, row.n, broken
