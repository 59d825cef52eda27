"""``dadfi-fast models train``: train a deepfake model, or the classifier that judges them; write it with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dadfi_fast.cli import console
from dadfi_fast.cli.train import PATHS, invocation, need_torch, report, setting
from dadfi_fast.errors import UsageError

FAMILIES = ("stargan", "attributes")


@click.command("train")
@click.argument("family", type=click.Choice(FAMILIES))
@click.option("--data", "sources", type=PATHS, multiple=True, required=True, help="Tar archive or folder of faces.")
@click.option("--attributes", type=PATHS, required=True, help="CSV table: image, then 0/1 attributes.")
@click.option("--test", "tests", type=PATHS, multiple=True, help="Faces to measure the result on (not trained on).")
@click.option("--judge", type=PATHS, help="Card of the attribute classifier for edit_accuracy [default: what ships].")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of checkpoints and of the result.")
@click.option("--image-size", type=click.IntRange(min=32), default=64, show_default=True, help="Pixels a side.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps in all [default: the family's].")
@click.option("--max-minutes", type=click.FloatRange(min=0), default=float("inf"), help="Stop after this long.")
@click.option("--save-every", type=click.IntRange(min=1), default=500, show_default=True, help="Steps to a checkpoint.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything that is drawn.")
@click.option("--set", "settings", multiple=True, callback=setting, metavar="KEY=VALUE", help="Change one setting.")
def command(
    family: str, sources: tuple[Path, ...], attributes: Path, tests: tuple[Path, ...], judge: Path | None, out: Path,
    image_size: int, steps: int | None, max_minutes: float, save_every: int, seed: int, settings: dict[str, Any],
) -> None:  # fmt: skip
    """Train a deepfake model (stargan) or the attribute classifier (attributes).

    The same command again goes on where the last run stopped. At the end OUT holds FAMILY-SIZE.onnx and its card.
    """
    need_torch()
    from dadfi_fast.deepfakes.edits import ATTRIBUTES
    from dadfi_fast.export.release import run_facts
    from dadfi_fast.training.data import load_faces
    from dadfi_fast.training.loop import run

    changes = settings | {"image_size": image_size, "seed": seed} | ({"steps": steps} if steps else {})
    config, make, release = _family(family, changes)
    kind: dict[str, Any] = {"image_size": image_size, "attributes": attributes, "columns": ATTRIBUTES}
    console.message(f"reading {', '.join(p.name for p in sources)}")
    faces = load_faces(sources, **kind)
    console.message(f"{len(faces)} faces; {config.steps} steps of {config.batch}; checkpoints in {out}")
    trainer = make(config, faces)
    limits: dict[str, Any] = {"steps": config.steps, "max_minutes": max_minutes}
    progress = run(trainer, seed=seed, folder=out, save_every=save_every, log=report, **limits)
    held_out = load_faces(tests, **kind) if tests else None
    facts = run_facts(command=invocation(), seed=seed, progress=progress, data=sources)
    card = release(trainer, held_out, out, f"{family}-{image_size}", image_size, facts, judge)
    console.result(str(card.file))


def _family(family: str, changes: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The family's settings, trainer, and what turns a trainer into files."""
    from dadfi_fast.training.surrogates.attributes import AttributesConfig, AttributesTrainer
    from dadfi_fast.training.surrogates.stargan import StarGANConfig, StarGANTrainer

    kinds: dict[str, tuple[Any, Any, Any]] = {
        "stargan": (StarGANConfig, StarGANTrainer, _release_stargan),
        "attributes": (AttributesConfig, AttributesTrainer, _release_attributes),
    }
    settings, trainer, release = kinds[family]
    try:
        return settings(**changes), trainer, release
    except TypeError as error:
        known = ", ".join(settings.__dataclass_fields__)
        raise UsageError(f"{family} has no such setting ({error}); there are: {known}") from error


def _release_attributes(
    trainer: Any, held_out: Any, out: Path, name: str, size: int, facts: dict[str, Any], _judge: Path | None
) -> Any:
    from dadfi_fast.export.release import release_attributes
    from dadfi_fast.training.surrogates.attributes import accuracy

    if held_out is not None:
        shares = accuracy(trainer.model, held_out).tolist()
        from dadfi_fast.deepfakes.edits import ATTRIBUTES

        facts["test_accuracy"] = {a: round(s, 4) for a, s in zip(ATTRIBUTES, shares, strict=True)}
        facts["test_n"] = len(held_out)
    text = "Says which of five attributes a face has: StarGAN's target labels start from them, and it judges edits."
    return release_attributes(trainer.model, out, name=name, image_size=size, run=facts, text=text)


def _release_stargan(
    trainer: Any, held_out: Any, out: Path, name: str, size: int, facts: dict[str, Any], judge: Path | None
) -> Any:
    from dadfi_fast.card import amend_card, read_card
    from dadfi_fast.deepfakes.portable import AttributeModel, DeepfakeModel
    from dadfi_fast.deepfakes.registry import load_attributes
    from dadfi_fast.evaluate.edit_accuracy import edit_accuracy
    from dadfi_fast.export.release import release_stargan

    text = "A StarGAN of the official architecture, narrower and smaller, trained here on CelebA."
    card = release_stargan(trainer.average, out, name=name, image_size=size, run=facts, text=text)
    if held_out is None:
        return card
    referee = AttributeModel(read_card(judge)) if judge else load_attributes()
    shares = edit_accuracy(DeepfakeModel(card), referee, held_out.pixels, held_out.labels.numpy())
    return amend_card(card, {"edit_accuracy": shares, "edit_judge": referee.card.sha256, "test_n": len(held_out)})
