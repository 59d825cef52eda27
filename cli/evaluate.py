"""``dadfi-fast evaluate``: the experiments, each with a table and a figure."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.train import invocation, setting
from dadfi_fast.errors import UsageError

if TYPE_CHECKING:
    from dadfi_fast.evaluate.experiment import Result, Setup

#: The experiments that differentiate deepfake models, whose weights they read from their ONNX files.
DIFFERENTIATE = frozenset({"speed", "comparison", "ceiling", "trade-off"})
_PATH = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("evaluate")
@click.argument("experiments", metavar="EXPERIMENT...", nargs=-1, required=True)
@click.option(
    "--data", "sources", type=_PATH, multiple=True, required=True, help="Tar archive or folder of faces; repeatable."
)
@click.option("--attributes", type=_FILE, metavar="CSV", help="CSV table of labels: image name, then 0/1 attributes.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write the results to."
)
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Number of images to sample.  [default: all]")
@options.models
@click.option(
    "--models-dir", type=_FOLDER, help="Folder of deepfake models with their cards.  [default: the bundled ones]"
)
@click.option(
    "--fid",
    type=click.IntRange(min=0),
    metavar="N",
    default=500,
    show_default=True,
    help="Measure the Frechet distance between two sets of at most N images each; 0: not measured.",
)
@click.option(
    "--generator", "generators", metavar="NAME", multiple=True, default=("generator-s",), show_default=True,
    help="Name of a generator, or its ONNX file; LABEL=NAME renames it in the results. Repeatable.",
)  # fmt: skip
@click.option(
    "--strength", type=float, default=0.05, show_default=True, help="Largest change on the [-1, 1] scale, 0.01 to 0.1."
)
@options.backend
@options.detector
@click.option(
    "--method", "methods", metavar="NAME,...", multiple=True, callback=options.listed,
    help="Attacks to compare with the generators.  [default: all available]",
)  # fmt: skip
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=setting,
    metavar="METHOD.KEY=VALUE",
    help="Override an attack's setting, such as pgd.steps=20; repeatable.",
)
@click.option(
    "--train",
    type=_PATH,
    multiple=True,
    help="Tar archive or folder of faces to train attacks on (cmua, moma); repeatable.",
)
@click.option(
    "--train-sample", type=click.IntRange(min=1), metavar="N", default=200, show_default=True,
    help="Number of these faces to sample.",
)  # fmt: skip
@click.option("--cmua-compat", is_flag=True, help="Also count success as CMUA's evaluation does (validity).")
@click.option(
    "--watermark", type=_FILE, metavar="NPY", help="Universal perturbation to use instead of training one (cmua)."
)
@click.option("--fresh", is_flag=True, help="Measure everything again instead of reusing finished results in OUT.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@options.quiet
def command(
    experiments: tuple[str, ...], sources: tuple[Path, ...], attributes: Path | None, out: Path, sample: int | None,
    models: tuple[str, ...], models_dir: Path | None, fid: int, generators: tuple[str, ...], strength: float,
    backend: str, device: str, detector: str, detector_model: Path | None,
    methods: tuple[str, ...], settings: dict[str, Any], train: tuple[Path, ...], train_sample: int,
    cmua_compat: bool, watermark: Path | None, fresh: bool, seed: int, quiet: bool,
) -> None:  # fmt: skip
    """Run the experiments and write their tables and figures.

    Writes EXPERIMENT.json, EXPERIMENT.md and EXPERIMENT.png to OUT. Images are protected into files as by protect and
    judged as by check. Without --attributes, plausibility uses the labels predicted by the attribute classifier, and
    the rows say so.

    \b
    plausibility    whether the deepfake models' edits show the requested attribute, what they leave unchanged, and
                    how realistic they look; with a contact sheet plausibility-MODEL.png per model
    validity        d_pix, SR, SR_mask and FID of every model on protected images, next to the paper's figures;
                    with null and noise controls, as in all that follow except speed
    robustness      SR_mask and SR_all after JPEG 95 to 50, resize 0.5 and blur 3
    whole-photo     the same on whole photos in their own format, and visibility: PSNR, SSIM, FLIP, Linf
    speed           ms per image, gradients and queries of every attack and generator
    comparison      every attack and generator on the same images: SR_mask, also after JPEG and resizing, and
                    visibility; whether a generator is better than CMUA; saves the universal perturbation as
                    comparison-cmua.npy
    single-model    every generator against every model: SR_mask and d_pix; models unseen in training are marked
    no-fine-tuning  the same, with generators that were trained without fine-tuning (lambda_y = 0)
    ceiling         how far a white-box attack gets against each model alone, against all models jointly, and with a
                    universal perturbation, for the adversaries A0 to A2; and what share of it a generator reaches
    trade-off       SR_mask against visibility (JPEG equivalent) of every generator at five strengths, on whole photos;
                    of attacks, too, where --method names them

    Finished results are kept per method in OUT/finished: running the same command again, or with more methods,
    measures only what is missing. Attacks made in advance (cmua, moma) are kept there too.

    Example: dadfi-fast evaluate plausibility --data celeba176-test-0.tar --attributes celeba-attributes.csv --out eval
    """
    from dadfi_fast.evaluate.experiment import EXPERIMENTS, Setup, write

    chosen = {name: EXPERIMENTS[name] for name in experiments}
    device = options.chosen_device(backend, device, quiet=quiet)
    _need("torch", "matplotlib", *(["onnx"] if set(chosen) & DIFFERENTIATE else []))
    setup = Setup(
        sources, attributes, models, models_dir, sample=sample, fid=fid, seed=seed, generators=generators,
        strength=strength, backend=backend, device=device, detector=detector, detector_model=detector_model,
        methods=methods, options=_by_method(settings), train=train, train_sample=train_sample,
        cmua_compat=cmua_compat, watermark=watermark, command=invocation(), out=out, fresh=fresh,
    )  # fmt: skip
    for load in chosen.values():
        result = _run(load(), setup, quiet=quiet)
        written = write(result, out)
        console.table(list(result.columns.values()), result.cells())
        if result.answer:
            console.result(f"\n{result.answer.replace('**', '')}\n")
        if not quiet:
            console.message(f"written: {', '.join(str(path) for path in written)}")


def _run(experiment: Callable[[Setup], Result], setup: Setup, *, quiet: bool) -> Result:
    """Run one experiment and show how far it is."""
    from dadfi_fast.cli.progress import show_progress
    from dadfi_fast.evaluate.experiment import Progress as Callbacks

    left = _Left()
    with show_progress(None, "images", quiet=quiet, detail=left.line) as progress:

        def tick(count: int) -> None:
            left.done += count
            progress.advance(count)

        callbacks = Callbacks(tick, left.plan, left.enter, (lambda text: None) if quiet else console.message)
        return experiment(replace(setup, progress=callbacks))


class _Left:
    """What is being measured, and the time that is left, by what has been done so far.

    By the whole run and not by its last seconds: pictures are protected one by one and checked by the batch.
    """

    def __init__(self) -> None:
        self.done, self.total, self.stage, self._start = 0, 0, "", time.monotonic()

    def plan(self, total: int) -> None:
        self.total = total

    def enter(self, stage: str) -> None:
        self.stage = stage

    def line(self) -> str:
        if not self.total:
            return self.stage
        seconds = (time.monotonic() - self._start) * (self.total / self.done - 1) if self.done else None
        about = "" if seconds is None else f", about {seconds / 60:.1f} min left"
        return f"{self.stage}; {self.done} of {self.total}{about}"


def _by_method(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """``METHOD.KEY`` to its value, as keyword arguments by method.

    Raises:
        UsageError: a key names no method.
    """
    options_of: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        method, point, name = key.partition(".")
        if not point:
            raise UsageError(f"--set {key}=... does not name an attack. Write METHOD.KEY=VALUE, such as pgd.steps=20")
        options_of.setdefault(method, {})[name] = value
    return options_of


def _need(*packages: str) -> None:
    """Say what to install before anything is measured.

    Raises:
        UsageError: a package of the extra ``evaluate`` is missing.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"{package} is not installed. Run: pip install 'dadfi-fast[evaluate]'")
