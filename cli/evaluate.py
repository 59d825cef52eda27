"""``dadfi-fast evaluate``: the experiments, each with a table and a figure."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.train import invocation
from dadfi_fast.errors import UsageError

_PATH = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("evaluate")
@click.argument("experiments", metavar="EXPERIMENT...", nargs=-1, required=True)
@click.option("--data", "sources", type=_PATH, multiple=True, required=True, help="Tar archive or folder of faces.")
@click.option("--attributes", type=_FILE, metavar="CSV", help="Table of labels: image, then 0/1 attributes.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="How many pictures are drawn.  [default: all]")
@click.option("--models", multiple=True, metavar="NAME,...", help="Only these deepfake models.")
@click.option("--models-dir", type=_FOLDER, help="Folder of deepfake models and their cards.  [default: what ships]")
@click.option(
    "--fid",
    type=click.IntRange(min=0),
    metavar="N",
    default=500,
    show_default=True,
    help="Pictures in each of the two sets of a Frechet distance, half of what is drawn at most; 0: not measured.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another number draws other pictures.")
@options.quiet
def command(
    experiments: tuple[str, ...], sources: tuple[Path, ...], attributes: Path | None, out: Path, sample: int | None,
    models: tuple[str, ...], models_dir: Path | None, fid: int, seed: int, quiet: bool,
) -> None:  # fmt: skip
    """Run the experiments and write their tables and figures.

    OUT gets EXPERIMENT.json, EXPERIMENT.md and EXPERIMENT.png. Without --attributes the labels are those that the
    attribute classifier sees, and the rows say so.

    \b
    plausibility  whether the deepfake models' edits show what was asked for, what they leave alone, and how
                  real they look; with a contact sheet plausibility-MODEL.png of each model

    Example: dadfi-fast evaluate plausibility --data celeba176-test-0.tar --attributes celeba-attributes.csv --out eval
    """
    from dadfi_fast.evaluate.experiment import EXPERIMENTS, Setup, write

    chosen = {name: EXPERIMENTS[name] for name in experiments}
    _need("torch", "matplotlib")
    with console.progress(None, "fakes", quiet=quiet) as progress:
        setup = Setup(
            sources, attributes, _split(models), models_dir, sample=sample, fid=fid, seed=seed, command=invocation(),
            tick=progress.advance,
        )  # fmt: skip
        results = [load()(setup) for load in chosen.values()]
    for result in results:
        written = write(result, out)
        console.table(list(result.columns.values()), result.cells())
        if not quiet:
            console.message(f"written: {', '.join(str(path) for path in written)}")


def _split(values: tuple[str, ...]) -> tuple[str, ...]:
    """What an option lists that may be given several times, each time with commas."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def _need(*packages: str) -> None:
    """Say what to install before anything is measured.

    Raises:
        UsageError: a package of the extra ``evaluate`` is missing.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"{package} is not installed; run: pip install 'dadfi-fast[evaluate]'")
