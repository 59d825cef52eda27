"""``dadfi-fast bench profile``: where the time of a photo goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.bench.scale import photos_in

if TYPE_CHECKING:
    from dadfi_fast.bench.rows import Row

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("profile")
@click.option("--photos", type=_FOLDER, metavar="DIR", help="Folder of photos to run on.  [default: examples/photos]")
@click.option("--count", type=click.IntRange(1), default=12, show_default=True, help="Number of photos per round.")
@click.option(
    "--megapixels", type=click.FloatRange(0.01), metavar="N", help="Enlarge or reduce the photos to this size first."
)
@click.option("--repeats", type=click.IntRange(1), default=9, show_default=True, help="Number of rounds.")
@click.option("--scratch", type=_FOLDER, metavar="DIR", help="Folder for temporary files.  [default: the system's]")
@options.rows_to
@options.quiet
def profile(
    photos: Path | None,
    count: int,
    megapixels: float | None,
    repeats: int,
    scratch: Path | None,
    target: Path | None,
    quiet: bool,
) -> None:
    """Measure where the time of a photo goes, function by function.

    The cost is CPU core time over all threads. Each photo goes through the functions of protect one by one, on one
    thread; verify is what one verified photo takes. Whole runs, measured in the same rounds, follow: protect from
    disk to disk, copy (decode and encode with our codecs) and pillow (Image.open().save() at the same quality). rest is
    protect's time outside its functions: threads, queues and the manifest.

    Example: dadfi-fast bench profile --photos photos --megapixels 12 --count 4
    """
    from tempfile import TemporaryDirectory

    from dadfi_fast.bench import profile as bench
    from dadfi_fast.bench.photos import gather
    from dadfi_fast.bench.rows import append
    from dadfi_fast.bench.setup import BenchSetup
    from dadfi_fast.cli.progress import show_progress
    from dadfi_fast.protect.assembly import Assembly
    from dadfi_fast.protect.config import ProtectConfig
    from dadfi_fast.protect.malloc import tune_malloc

    tune_malloc()
    with TemporaryDirectory(prefix="dadfi-profile-", dir=scratch) as name:
        folder, source = Path(name), photos_in(photos)
        if megapixels is not None:
            bench.enlarged(source, folder / "enlarged", megapixels=megapixels, count=count)
            source = folder / "enlarged"
        material = gather(source, folder / "in", count=count)
        parts = Assembly(device="cpu")
        config = ProtectConfig(
            sources=(str(material.folder),), out=folder / "out", no_face="whole", again=True, animated="first"
        )
        bench_setup = BenchSetup(config, parts.chosen_detector[0], parts.attack(threads=config.generator_threads))
        with show_progress(repeats + 1, "rounds", quiet=quiet) as progress:
            rows = bench.profile(material, bench_setup, repeats=repeats, tick=progress.advance)
    console.table(("case", "unit", "p20", "p50", "p80", "n", "of protect"), list(_lines(rows, bench.rest(rows))))
    if target is not None:
        append(target, rows)


def _lines(rows: Sequence[Row], rest: float) -> list[tuple[object, ...]]:
    whole = next(row.p50 for row in rows if row.case == "protect")
    lines: list[tuple[object, ...]] = [
        (row.case, row.unit, row.p20, row.p50, row.p80, row.n, f"{row.p50 / whole:.0%}") for row in rows
    ]
    return [*lines, ("rest", rows[0].unit, None, rest, None, None, f"{rest / whole:.0%}")]
