"""``dadfi-fast train``: train the generator that protects, and write it with its card."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dadfi_fast.cli import console, options
from dadfi_fast.errors import UsageError

PATHS = click.Path(exists=True, path_type=Path)
#: Pictures that a checkpoint is validated on.
VALIDATED = 64
#: What the card says of the recipe: what experiments tell generators apart by.
SETTINGS = (
    "lambda_x", "lambda_y", "lambda_distortion", "lambda_visible", "psnr_goal", "masking", "axis_weights",
    "lambda_contrast", "contrast_goal", "lambda_flip", "flip_goal", "lambda_ssimulacra2", "ssimulacra2_goal",
    "distortion_loss", "distortion_goal", "distortion_floor", "transforms", "photo_scales", "jpeg_share",
    "jpeg_quality", "jpeg_floors", "subsampled_from", "crop_share", "crop_zoom", "crop_shift", "crop_power", "pool",
    "dynamic", "gradient", "surrogates",
)  # fmt: skip


def setting(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """A click callback: ``KEY=VALUE`` pairs, the values in JSON, or as text where they are not."""
    settings = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE")
        try:
            settings[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            settings[key.strip()] = value
    return settings


@click.command("train")
@click.option(
    "--recipe", default="release", show_default=True, help="Recipe: release, paper, mse, initiative, or a TOML file."
)
@click.option(
    "--data", "sources", type=PATHS, multiple=True, required=True, help="Tar archive or folder of faces; repeatable."
)
@click.option("--attributes", type=PATHS, required=True, help="CSV table of labels: image name, then 0/1 attributes.")
@click.option(
    "--validation", type=PATHS, multiple=True, help="Tar archive or folder of faces held out from training; repeatable."
)
@click.option(
    "--models-dir", type=PATHS, help="Folder of deepfake models with their cards.  [default: the bundled ones]"
)
@click.option(
    "--from",
    "start",
    metavar="NAME",
    help="Generator to start from: its name or ONNX file; a narrower one is widened.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the checkpoints and the result."
)
@click.option("--name", default="", help="Name of the result.  [default: generator-PRESET]")
@click.option("--steps", type=click.IntRange(min=1), help="Total number of steps.  [default: the recipe's]")
@click.option("--max-minutes", type=click.FloatRange(min=0), default=float("inf"), help="Stop after this many minutes.")
@click.option(
    "--save-every", type=click.IntRange(min=1), default=500, show_default=True, help="Steps between checkpoints."
)
@click.option("--seed", type=int, help="Random seed.  [default: the recipe's]")
@click.option("--tensorboard", is_flag=True, help="Also write the losses to OUT for TensorBoard.")
@options.device
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=setting,
    metavar="KEY=VALUE",
    help="Override a setting of the recipe; repeatable.",
)
def command(
    recipe: str, sources: tuple[Path, ...], attributes: Path, validation: tuple[Path, ...], models_dir: Path | None,
    start: str | None, out: Path, name: str, steps: int | None, max_minutes: float, save_every: int, seed: int | None,
    tensorboard: bool, device: str, settings: dict[str, Any],
) -> None:  # fmt: skip
    """Train the generator.

    Run the same command again to resume after Ctrl-C, --max-minutes or a kill. At the end OUT contains NAME.onnx,
    NAME.safetensors and the card NAME.md; use them with protect --generator OUT/NAME.onnx.

    On several GPUs: torchrun --nproc-per-node N -m dadfi_fast.cli train ...; each process has its own batch.

    Example: dadfi-fast train --data celeba176-train-0.tar --attributes celeba-attributes.csv --out runs/first
    """
    need_torch()
    from dadfi_fast.deepfakes.torch_model import load_targets
    from dadfi_fast.export.release import release_generator, run_facts
    from dadfi_fast.model_card import find_card
    from dadfi_fast.training import distributed
    from dadfi_fast.training.config import load_config
    from dadfi_fast.training.data import load_faces
    from dadfi_fast.training.initiative import InitiativeTrainer
    from dadfi_fast.training.loop import run
    from dadfi_fast.training.trainer import DadfiTrainer

    named = {"steps": steps, "seed": seed, "device": None if device == "auto" else device}
    changes = settings | {key: value for key, value in named.items() if value is not None}
    config = load_config(recipe, changes)
    options.chosen_device("torch", config.device)
    targets = load_targets([find_card(model, folder=models_dir) for model in config.models])
    kind: dict[str, Any] = {
        "image_size": config.stored_size, "attributes": attributes, "columns": targets[0].columns
    }  # fmt: skip
    console.message(f"reading {', '.join(p.name for p in sources)}")
    faces = load_faces(sources, limit=config.limit or None, **kind)
    held_out = load_faces(validation, limit=VALIDATED, **kind) if validation else None
    console.message(f"{len(faces)} faces; {config.steps} steps of {config.batch}; checkpoints in {out}")
    limits: dict[str, Any] = {"steps": config.steps, "max_minutes": max_minutes, "save_every": save_every}
    with distributed.group(), journal(out if tensorboard else None) as log:
        if config.surrogates:
            trainer: DadfiTrainer = InitiativeTrainer(config, faces, targets, validation=held_out)
        else:
            pools = _pools(config.pool, targets)
            trainer = DadfiTrainer(config, faces, targets, validation=held_out, pools=pools)
        begun = _start(trainer.generator, start) if start else {}
        trainer.prepare()
        progress = run(trainer, seed=config.seed, folder=out, log=log, **limits)
        if distributed.rank() != 0:
            return
    facts = run_facts(command=invocation(), seed=config.seed, progress=progress, data=sources)
    facts |= begun | {"targets": [{"name": t.name, "sha256": t.sha256} for t in targets]}
    facts["settings"] = {key: getattr(config, key) for key in SETTINGS}
    if config.pool:
        facts["pools"] = {t.name: [m.sha256 for m in pool] for t, pool in zip(targets, trainer.pools, strict=True)}
    text = "A DADFI generator. Figures: run `dadfi-fast check` on what it protected."
    name, size = name or f"generator-{config.preset}", config.image_size
    card = release_generator(trainer.generator, out, name=name, image_size=size, run=facts, text=text)
    console.result(str(card.file))


def _pools(folder: str, targets: list[Any]) -> list[list[Any]] | None:
    """The snapshots of each of ``targets`` in ``folder``; a model without any stands for itself.

    Raises:
        UsageError: the folder has none of any model.
    """
    from dataclasses import replace

    from dadfi_fast.deepfakes.torch_model import load_target
    from dadfi_fast.model_card import cards

    if not folder:
        return None
    there = cards(Path(folder)) if Path(folder).is_dir() else []
    pools = []
    for target in targets:
        own = [load_target(card) for card in there if card.name.startswith(f"{target.name}-")]
        pools.append([replace(member, columns=target.columns) for member in own])
    if not any(pools):
        raise UsageError(f"{folder} has no card NAME-*.md of any of {', '.join(t.name for t in targets)}")
    return [pool or [target] for pool, target in zip(pools, targets, strict=True)]


def _start(generator: Any, name: str) -> dict[str, Any]:
    """Give ``generator`` the weights of another one, widened if that is of a narrower preset; what the card says of it.

    Raises:
        UsageError: it is of a wider preset, or its weights are not there.
    """
    from safetensors.torch import load_file

    from dadfi_fast.backends.generator_file import load_generator_file
    from dadfi_fast.training.widen import doublings, widen

    generator_file = load_generator_file(name)
    times = doublings(generator_file.preset, generator.preset)
    if times is None:
        raise UsageError(f"{name} is of preset {generator_file.preset}; cannot widen it to {generator.preset}")
    if generator_file.safetensors is None:
        raise UsageError(f"{name} has no .safetensors file beside it; --from needs it")
    weights = load_file(generator_file.safetensors)
    for _ in range(times):
        weights = widen(weights)
    generator.load_state_dict(weights)
    if generator_file.gated != generator.gated:
        gate = (
            "has no gate; this one gets one" if generator.gated else "has a gate; this one gets none (--set gated=true)"
        )
        console.message(f"{generator_file.name} {gate}")
    return {"started_from": {"name": generator_file.name, "sha256": generator_file.sha256}}


def report(number: int, losses: dict[str, float], rate: float) -> None:
    """One line of progress."""
    figures = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
    console.message(f"step {number}  {figures}  {rate:.2f} steps/s")


@contextmanager
def journal(folder: Path | None) -> Iterator[Callable[[int, dict[str, float], float], None]]:
    """What writes the losses down: to the console, and for TensorBoard to ``folder`` where one is given.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    if folder is None:
        yield report
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard needs TensorBoard. Run: pip install tensorboard") from error
    with SummaryWriter(str(folder)) as writer:

        def log(number: int, losses: dict[str, float], rate: float) -> None:
            report(number, losses, rate)
            for name, value in (losses | {"steps per second": rate}).items():
                writer.add_scalar(name, value, number)

        yield log


def invocation() -> str:
    """The command as it was given, folders of this machine left out: for the card."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return shlex.join(["dadfi-fast", *words])


def need_torch() -> None:
    """Say what to install where training cannot run.

    Raises:
        UsageError: a package of the extra ``train`` is missing.
    """
    import importlib.util

    for package in ("torch", "onnx", "onnxscript", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"{package} is not installed. Run: pip install 'dadfi-fast[train]'")
