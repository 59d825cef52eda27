"""``dadfi-fast bench growth``: how the cost grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.bench.scale import photos_in

if TYPE_CHECKING:
    from dadfi_fast.bench.rows import Row
    from dadfi_fast.bench.setup import BenchSetup

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("growth")
@click.option("--over", type=options.Choice(["megapixels", "faces", "photos"]), required=True, help="Quantity to vary.")
@click.option(
    "--photos", type=_FOLDER, metavar="DIR",
    help="Folder of photos; the largest face is the portrait.  [default: examples/photos]",
)  # fmt: skip
@click.option(
    "--repeats", type=click.IntRange(1), default=9, show_default=True, help="Number of measurements per size."
)
@click.option("--scratch", type=_FOLDER, metavar="DIR", help="Folder for temporary files.  [default: the system's]")
@options.rows_to
@options.quiet
def growth(
    over: str, photos: Path | None, repeats: int, scratch: Path | None, target: Path | None, quiet: bool
) -> None:
    """Measure how the cost grows with megapixels, faces or photos.

    The cost is CPU core time over all threads: per photo from encoded bytes to encoded bytes, on one core; with
    --over photos, of whole runs including startup.

    \b
    megapixels  one portrait, enlarged or reduced together with its face
    faces       an image of 12 megapixels with this many equal portraits
    photos      runs of protect on this many small photos, each in its own process
    """
    from tempfile import TemporaryDirectory

    from dadfi_fast.bench import growth as bench
    from dadfi_fast.bench.photos import pictures
    from dadfi_fast.bench.rows import append
    from dadfi_fast.cli.progress import show_progress

    source = photos_in(photos)
    with TemporaryDirectory(prefix="dadfi-growth-", dir=scratch) as folder:
        work = Path(folder, "work")
        steps = len(bench.OVER[over]) * (repeats if over == "photos" else 1)
        with show_progress(steps, "measurements", quiet=quiet) as progress:
            if over == "photos":
                rows = list(bench.by_photos(source, work, repeats=repeats, tick=progress.advance))
            else:
                measure = bench.by_megapixels if over == "megapixels" else bench.by_faces
                bench_setup = _setup(work)
                made = measure(
                    bench.portrait(pictures(source), bench_setup.detector), bench_setup, work, repeats=repeats
                )
                rows = _counted(made, progress.advance)
    line = bench.fit([row.to_dict() for row in rows], over)
    console.table((over, "unit", "p20", "p50", "p80", "n"), [_line(row, over) for row in rows])
    console.result(f"about {line.base:.4g} + {line.slope:.4g} x {over} {rows[0].unit}")
    if target is not None:
        append(target, rows)


def _counted(rows: Iterable[Row], tick: Callable[[], object]) -> list[Row]:
    found = []
    for row in rows:
        found.append(row)
        tick()
    return found


def _line(row: Row, over: str) -> tuple[object, ...]:
    return row.config[over], row.unit, row.p20, row.p50, row.p80, row.n


def _setup(scratch: Path) -> BenchSetup:
    """The usual detector, generator and backend; the generator on one thread, as what is measured is cores."""
    from dadfi_fast.bench.setup import BenchSetup
    from dadfi_fast.protect.assembly import Assembly
    from dadfi_fast.protect.config import ProtectConfig
    from dadfi_fast.protect.malloc import tune_malloc

    tune_malloc()
    parts = Assembly(device="cpu")
    config = ProtectConfig(sources=("in",), out=scratch, no_face="whole", verify=0.0, again=True)
    return BenchSetup(config, parts.chosen_detector[0], parts.attack(threads=1))
