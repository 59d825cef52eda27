"""``dadfi-fast bench scale``: very many photos, watched from outside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import dadfi_fast
from dadfi_fast.cli import console, options
from dadfi_fast.errors import DadfiError, UsageError

if TYPE_CHECKING:
    from dadfi_fast.bench.rows import Row
    from dadfi_fast.bench.scale import Wrong

#: Where a checkout has its example photos; an installed package has none.
EXAMPLES = Path(dadfi_fast.__file__).resolve().parents[1] / "examples" / "photos"
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("scale")
@click.option(
    "--photos",
    type=_FOLDER,
    metavar="DIR",
    help="Folder of images to crop the photos from.  [default: examples/photos]",
)
@click.option("--count", type=click.IntRange(20), default=50_000, show_default=True, help="Number of photos.")
@click.option(
    "--size", type=click.IntRange(32), default=112, show_default=True, help="Shorter side of the photos, in pixels."
)
@click.option(
    "--damaged",
    metavar="SHARE",
    default="1%",
    show_default=True,
    callback=options.share,
    help="Share of the photos to damage.",
)
@click.option("--scratch", type=_FOLDER, metavar="DIR", help="Folder for temporary files.  [default: the system's]")
@options.rows_to
@click.option("--plot", type=_FILE, metavar="FILE.png", help="Plot the memory use (needs the extra evaluate).")
@options.quiet
def scale(
    photos: Path | None,
    count: int,
    size: int,
    damaged: float,
    scratch: Path | None,
    target: Path | None,
    plot: Path | None,
    quiet: bool,
) -> None:
    """Protect many small photos, some of them damaged; measure memory and check every row.

    The photos are cropped from a few images on the fly. A separate protect process protects them; its memory is sampled
    twice a second. At the end every row and file is checked: each photo must be written with the hash in its row, and
    each damaged file must have failed on its own. Rates are the 20th, 50th and 80th percentile over 20 parts of the
    run. Exits with code 1 if a row is wrong.
    """
    from tempfile import TemporaryDirectory

    from dadfi_fast.bench.rows import append

    source = photos_in(photos)
    with TemporaryDirectory(prefix="dadfi-scale-", dir=scratch) as folder:
        row, faults = _measure(source, Path(folder), count=count, size=size, damaged=damaged, quiet=quiet)
    facts = {name: value for name, value in row.config.items() if name != "samples"}
    console.table(("", "figure"), [("photos/s, median", row.p50), *facts.items()])
    if target is not None:
        append(target, [row])
    if plot is not None:
        _draw(row, plot)
    if faults:
        shown = "; ".join(f"{fault.name}: {fault.why}" for fault in faults[:5])
        raise DadfiError(f"{len(faults)} rows or files are wrong: {shown}")


def photos_in(folder: Path | None) -> Path:
    """The folder that was named, or the examples.

    Raises:
        UsageError: none was named, and there are no examples.
    """
    if folder is None and not EXAMPLES.is_dir():
        raise UsageError("the example photos come only with a checkout. Pass a folder of photos with --photos.")
    return folder or EXAMPLES


def _measure(
    source: Path, folder: Path, *, count: int, size: int, damaged: float, quiet: bool
) -> tuple[Row, list[Wrong]]:
    import json

    from dadfi_fast.bench import scale as bench
    from dadfi_fast.bench import synthetic
    from dadfi_fast.cli.progress import show_progress
    from dadfi_fast.device import cores
    from dadfi_fast.protect.manifest import NAME

    if not quiet:
        console.message(f"making {count} files of {size} pixels")
    synthetic_photos = synthetic.make(source, folder / "in", count=count, size=size, damaged=damaged, threads=cores())
    out = folder / "out"
    with show_progress(count, "files", quiet=quiet) as progress:
        samples = bench.watch(bench.protect_command(synthetic_photos, out), out, tick=progress.advance)
    faults = bench.wrong(synthetic_photos, out)
    with (out / NAME).open(encoding="utf-8") as file:
        provider = json.loads(file.readline())["backend"].partition(":")[0]
    return bench.row_of(synthetic_photos, samples, faults, provider=provider), faults


def _draw(row: Row, path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("--plot needs matplotlib. Run: pip install 'dadfi-fast[evaluate]'") from error
    from dadfi_fast.bench.scale import draw

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    draw(row.to_dict(), figure)
    figure.savefig(path, dpi=120)
