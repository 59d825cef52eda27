"""``dadfi-fast models train``: train a deepfake model, or the classifier that judges them; write it with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.train import PATHS, invocation, need_torch, report, setting
from dadfi_fast.errors import UsageError

FAMILIES = ("stargan", "stargan2", "stgan", "stgan-sac", "attributes")
#: Pictures of --test that a point of the curve is measured on; the final figures take them all.
CURVE_PICTURES = 256


@click.command("train")
@click.argument("family", type=click.Choice(FAMILIES))
@click.option(
    "--data", "sources", type=PATHS, multiple=True, required=True, help="Tar archive or folder of faces; repeatable."
)
@click.option("--attributes", type=PATHS, required=True, help="CSV table of labels: image name, then 0/1 attributes.")
@click.option("--test", "tests", type=PATHS, multiple=True, help="Faces to measure the result on (not trained on).")
@click.option(
    "--judge", type=PATHS, help="Card of the attribute classifier for edit_accuracy.  [default: the bundled one]"
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the checkpoints and the result."
)
@click.option(
    "--from",
    "start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compact checkpoint or card of a deepfake model to start from; ignored once OUT has a checkpoint.",
)
@click.option(
    "--image-size", type=click.IntRange(min=32), default=64, show_default=True, help="Side of the images in pixels."
)
@click.option("--steps", type=click.IntRange(min=1), help="Total number of steps.  [default: the family's]")
@click.option("--max-minutes", type=click.FloatRange(min=0), default=float("inf"), help="Stop after this many minutes.")
@click.option(
    "--save-every", type=click.IntRange(min=1), default=500, show_default=True, help="Steps between checkpoints."
)
@click.option(
    "--snapshots",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Number of averaged generators to keep in OUT/snapshots, from the second half of the steps.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Number of CPU threads.  [default: all]")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@options.device
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=setting,
    metavar="KEY=VALUE",
    help="Override a training setting; repeatable.",
)
def command(
    family: str, sources: tuple[Path, ...], attributes: Path, tests: tuple[Path, ...], judge: Path | None, out: Path,
    start: Path | None, image_size: int, steps: int | None, max_minutes: float, save_every: int, snapshots: int,
    threads: int | None, seed: int, device: str, settings: dict[str, Any],
) -> None:  # fmt: skip
    """Train a deepfake model or the attribute classifier.

    Run the same command again to resume. Each checkpoint comes with a contact sheet and, with --test, a point on the
    edit accuracy curve (curve.jsonl). At the end OUT contains FAMILY-SIZE.onnx and its card.

    Example: dadfi-fast models train stgan --data faces.tar --attributes attributes.csv --out runs/stgan
    """
    need_torch()
    import torch

    from dadfi_fast.deepfakes.edits import ATTRIBUTES
    from dadfi_fast.export.release import run_facts
    from dadfi_fast.training.data import load_faces
    from dadfi_fast.training.loop import CHECKPOINT, run

    if threads:
        torch.set_num_threads(threads)
    changes = settings | {"image_size": image_size, "seed": seed} | ({"steps": steps} if steps else {})
    changes |= {"device": device} if device != "auto" else {}
    config, make = _family(family, changes)
    options.chosen_device("torch", config.device)
    kind: dict[str, Any] = {"image_size": image_size, "attributes": attributes, "columns": ATTRIBUTES}
    console.message(f"reading {', '.join(p.name for p in sources)}")
    faces = load_faces(sources, **kind)
    held_out = load_faces(tests, **kind) if tests else None
    console.message(f"{len(faces)} faces; {config.steps} steps of {config.batch}; checkpoints in {out}")
    trainer = make(config, faces)
    past, begun = _start(trainer, start, resumed=(out / CHECKPOINT).exists())
    curve = _curve(trainer, held_out, judge, out) if family != "attributes" else None
    limits: dict[str, Any] = {"steps": config.steps, "max_minutes": max_minutes, "past": past}
    name = f"{family}-{image_size}"

    def saved(number: int) -> None:
        if curve:
            console.message(f"edit accuracy {curve.point(number)}")
        if snapshots and family != "attributes":
            _snapshot(trainer, out / "snapshots", family, name, number, snapshots, {"seed": seed} | begun)

    progress = run(trainer, seed=seed, folder=out, save_every=save_every, log=report, saved=saved, **limits)
    facts = run_facts(command=invocation(), seed=seed, progress=progress, data=sources) | begun
    if family == "attributes":
        card = _release_attributes(trainer, held_out, out, name, facts)
    else:
        card = _release_deepfake(trainer, held_out, out, family, name, facts | _drawn(curve), judge)
    console.result(str(card.file))


def _family(family: str, changes: dict[str, Any]) -> tuple[Any, Any]:
    """The family's settings and trainer."""
    from dadfi_fast.training.deepfakes import attributes, stargan, stargan2, stgan

    kinds: dict[str, tuple[Any, Any]] = {
        "stargan": (stargan.StarGANConfig, stargan.StarGANTrainer),
        "stargan2": (stargan2.StarGAN2Config, stargan2.StarGAN2Trainer),
        "stgan": (stgan.STGANConfig, stgan.STGANTrainer),
        "stgan-sac": (stgan.STGANConfig, stgan.STGANSACTrainer),
        "attributes": (attributes.AttributesConfig, attributes.AttributesTrainer),
    }
    settings, trainer = kinds[family]
    try:
        return settings(**changes), trainer
    except TypeError as error:
        known = ", ".join(settings.__dataclass_fields__)
        raise UsageError(f"{family} has no such setting ({error}). Available: {known}") from error


def _start(trainer: Any, source: Path | None, *, resumed: bool) -> tuple[Any, dict[str, Any]]:
    """Hand the networks in ``source`` to ``trainer``: how far they had come, and what the card says of it."""
    from dadfi_fast.deepfakes.torch_model import read_weights
    from dadfi_fast.files import sha256
    from dadfi_fast.model_card import read_card
    from dadfi_fast.training import checkpoint
    from dadfi_fast.training.loop import Progress

    if source is None:
        return None, {}
    card = read_card(source) if source.suffix == ".md" else None
    file = card.file if card else source
    begun = {"started_from": {"name": card.name if card else source.name, "sha256": sha256(file)}}
    if resumed:
        return None, begun
    if card:
        trainer.start({"mean": read_weights(file)})
        return None, begun
    state = checkpoint.load(file)
    trainer.start(state)
    return Progress(state["steps"], state.get("minutes", 0.0)), begun


def _snapshot(
    trainer: Any, folder: Path, family: str, name: str, number: int, count: int, facts: dict[str, Any]
) -> None:
    """Write the averaged generator after step ``number`` to ``folder``, and delete those that are one too many."""
    import copy

    from dadfi_fast.export.release import release_deepfake
    from dadfi_fast.training.deepfakes.snapshots import thinned

    folder.mkdir(parents=True, exist_ok=True)
    release_deepfake(
        copy.deepcopy(trainer.kept).cpu(), folder, name=f"{name}-{number:06d}", family=family,
        image_size=trainer.config.image_size, edit_size=trainer.rule.size,
        facts=trainer.facts() | {"steps": number} | facts, text=f"A snapshot of {name} in training.",
    )  # fmt: skip
    there = {int(card.stem.rpartition("-")[2]): card for card in sorted(folder.glob(f"{name}-*.md"))}
    for step in there.keys() - set(thinned(sorted(there), count)):
        for file in (there[step], there[step].with_suffix(".onnx")):
            file.unlink()


def _curve(trainer: Any, held_out: Any, judge: Path | None, out: Path) -> Any:
    """Measures edit accuracy at every checkpoint; None without pictures to measure on."""
    from dadfi_fast.evaluate.curve import Curve

    return Curve(trainer, held_out.first(CURVE_PICTURES), _judge(judge), out) if held_out is not None else None


def _drawn(curve: Any) -> dict[str, Any]:
    """The curve as a card states it: at each step the mean over the edits."""
    if curve is None:
        return {}
    rows = []
    for point in curve.points():
        shares = [share for key, share in point.items() if key not in ("step", "n") and share == share]
        rows.append({"step": point["step"], "n": point["n"], "edit_accuracy": round(sum(shares) / len(shares), 3)})
    return {"curve": rows}


def _judge(card: Path | None) -> Any:
    from dadfi_fast.deepfakes.onnx_model import AttributeModel
    from dadfi_fast.deepfakes.registry import load_attributes
    from dadfi_fast.model_card import read_card

    return AttributeModel(read_card(card)) if card else load_attributes()


def _release_attributes(trainer: Any, held_out: Any, out: Path, name: str, facts: dict[str, Any]) -> Any:
    from dadfi_fast.deepfakes.edits import ATTRIBUTES
    from dadfi_fast.export.release import release_attributes
    from dadfi_fast.training.deepfakes.attributes import accuracy

    if held_out is not None:
        shares = accuracy(trainer.model, held_out).tolist()
        facts["test_accuracy"] = {a: round(s, 4) for a, s in zip(ATTRIBUTES, shares, strict=True)}
        facts["test_n"] = len(held_out)
    text = "Says which of five attributes a face has: the target labels start from them, and it judges edits."
    return release_attributes(trainer.model, out, name=name, image_size=trainer.config.image_size, run=facts, text=text)


def _release_deepfake(
    trainer: Any, held_out: Any, out: Path, family: str, name: str, facts: dict[str, Any], judge: Path | None
) -> Any:
    from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
    from dadfi_fast.evaluate.edit_accuracy import edit_accuracy
    from dadfi_fast.export.release import release_deepfake
    from dadfi_fast.model_card import amend_card

    card = release_deepfake(
        trainer.kept.cpu(), out, name=name, family=family, image_size=trainer.config.image_size,
        edit_size=trainer.rule.size, facts=trainer.facts() | facts, text=TEXTS[family],
    )  # fmt: skip
    if held_out is None:
        return card
    referee = _judge(judge)
    shares = edit_accuracy(DeepfakeModel(card), referee, held_out.pixels, held_out.labels.numpy())
    return amend_card(card, {"edit_accuracy": shares, "edit_judge": referee.card.sha256, "test_n": len(held_out)})


#: What a card says of a model when nobody has said more.
TEXTS = {
    "stargan": "A StarGAN (Choi et al. 2018) of the official architecture, narrower and smaller.",
    "stargan2": "A StarGAN v2 (Choi et al. 2020) of the official architecture, narrower and smaller, no mask network.",
    "stgan": "An STGAN (Liu et al. 2019) of the official architecture, narrower, of fewer layers and smaller.",
    "stgan-sac": "An STGAN with attention in its transfer units: our reconstruction, see deepfakes/stgan_sac.py.",
}
