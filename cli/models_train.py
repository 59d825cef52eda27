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
@click.option("--data", "sources", type=PATHS, multiple=True, required=True, help="Tar archive or folder of faces.")
@click.option("--attributes", type=PATHS, required=True, help="CSV table: image, then 0/1 attributes.")
@click.option("--test", "tests", type=PATHS, multiple=True, help="Faces to measure the result on (not trained on).")
@click.option("--judge", type=PATHS, help="Card of the attribute classifier for edit_accuracy [default: what ships].")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of checkpoints and of the result.")
@click.option("--image-size", type=click.IntRange(min=32), default=64, show_default=True, help="Pixels a side.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps in all [default: the family's].")
@click.option("--max-minutes", type=click.FloatRange(min=0), default=float("inf"), help="Stop after this long.")
@click.option("--save-every", type=click.IntRange(min=1), default=500, show_default=True, help="Steps to a checkpoint.")
@click.option("--threads", type=click.IntRange(min=1), help="Processor threads [default: all].")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything that is drawn.")
@options.device
@click.option("--set", "settings", multiple=True, callback=setting, metavar="KEY=VALUE", help="Change one setting.")
def command(
    family: str, sources: tuple[Path, ...], attributes: Path, tests: tuple[Path, ...], judge: Path | None, out: Path,
    image_size: int, steps: int | None, max_minutes: float, save_every: int, threads: int | None, seed: int,
    device: str, settings: dict[str, Any],
) -> None:  # fmt: skip
    """Train a deepfake model (stargan, stargan2, stgan, stgan-sac) or the attribute classifier (attributes).

    The same command again goes on where the last run stopped. Each checkpoint comes with a contact sheet and, where
    --test is given, with a point of the curve of edit accuracy (curve.jsonl). At the end OUT holds FAMILY-SIZE.onnx and
    its card.

    Example: dadfi-fast models train stgan --data faces.tar --attributes attributes.csv --out runs/stgan
    """
    need_torch()
    import torch

    from dadfi_fast.deepfakes.edits import ATTRIBUTES
    from dadfi_fast.export.release import run_facts
    from dadfi_fast.training.data import load_faces
    from dadfi_fast.training.loop import run

    if threads:
        torch.set_num_threads(threads)
    changes = settings | {"image_size": image_size, "seed": seed} | ({"steps": steps} if steps else {})
    changes |= {"device": device} if device != "auto" else {}
    config, make = _family(family, changes)
    kind: dict[str, Any] = {"image_size": image_size, "attributes": attributes, "columns": ATTRIBUTES}
    console.message(f"reading {', '.join(p.name for p in sources)}")
    faces = load_faces(sources, **kind)
    held_out = load_faces(tests, **kind) if tests else None
    console.message(f"{len(faces)} faces; {config.steps} steps of {config.batch}; checkpoints in {out}")
    trainer = make(config, faces)
    curve = _curve(trainer, held_out, judge, out) if family != "attributes" else None
    limits: dict[str, Any] = {"steps": config.steps, "max_minutes": max_minutes}
    seen = (lambda number: console.message(f"edit accuracy {curve.point(number)}")) if curve else (lambda number: None)
    progress = run(trainer, seed=seed, folder=out, save_every=save_every, log=report, saved=seen, **limits)
    facts = run_facts(command=invocation(), seed=seed, progress=progress, data=sources)
    name = f"{family}-{image_size}"
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
        raise UsageError(f"{family} has no such setting ({error}); there are: {known}") from error


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
