"""``dadfi-fast models add``: take an official deepfake model, checked, into the user's data folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.models import add_onnx
from dadfi_fast.cli.train import PATHS, need_torch
from dadfi_fast.errors import DiskError, PhotoError, UsageError, WeightsError
from dadfi_fast.model_card import MODELS_VARIABLE, Card, cards, folders, user_folder

if TYPE_CHECKING:
    from dadfi_fast.deepfakes.official import Official
    from dadfi_fast.deepfakes.official_encoders import OfficialEncoder
    from dadfi_fast.types import UInt8

#: What a name may be: it becomes the name of a folder and of files, on every system.
NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
#: The licences of the published files, and whose they are.
LICENCES: Final = {
    "stargan": "MIT (github.com/yunjey/stargan)",
    "stargan2": "CC BY-NC 4.0 (github.com/clovaai/stargan-v2)",
    "stgan": "MIT (github.com/csmliu/STGAN)",
}
#: Mean difference, on the [-1, 1] scale, that the ONNX file may have from the checkpoint; float16 weights make 0.001.
TOLERANCE: Final = 0.01
#: Larger pictures than these are no references.
MAX_PIXELS: Final = 200_000_000


@click.command("add")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--image-size",
    type=click.IntRange(min=32),
    metavar="N",
    help="Side of the images in pixels, where the file does not tell.",
)
@click.option(
    "--attributes",
    multiple=True,
    callback=options.listed,
    metavar="A,B,...",
    help="Names of the model's attributes or domains.",
)
@click.option(
    "--reference",
    "references",
    type=PATHS,
    multiple=True,
    help="Reference image or folder for a domain (StarGAN v2).",
)
@click.option("--decoder", type=PATHS, help="Decoder that belongs to FILE, an encoder of the TAESD family.")
@click.option("--half", is_flag=True, help="Store the weights in float16, at half the size.")
@click.option("--force", is_flag=True, help="Replace an added model with this name.")
@add_onnx.options
def command(
    name: str, file: Path, image_size: int | None, attributes: tuple[str, ...], references: tuple[Path, ...],
    decoder: Path | None, half: bool, force: bool, **network: Any,
) -> None:  # fmt: skip
    """Add the deepfake model or encoder in FILE as NAME.

    FILE is an ONNX file of any image-to-image network (docs/own-models.md), or a checkpoint as published by the
    authors: 200000-G.ckpt of StarGAN, nets_ema.ckpt of StarGAN v2, the .index file of STGAN (needs TensorFlow), or one
    trained with their code. It is checked and loaded without executing any code in it, then copied with an ONNX export
    and a card to the user's data folder (set the environment variable DADFI_MODELS to use another). From then on
    `models list`, `models verify` and `check` include it. To remove it, delete its folder.

    FILE can also be an encoder, whose output other networks work on: one of the TAESD family (latents of diffusion
    models) or MobileFaceNet (identity), as .pth, .pt or .safetensors. `check` then measures how far the protection
    moves its codes; with --decoder, also what becomes of the picture. The editor or face swap behind it is not run.

    Pass --reference once per domain, in order; from a folder the first two images are used. Each image becomes a style
    of its own. Crop the images as the model's training images were cropped.

    \b
    Examples:
      dadfi-fast models add stargan-official stargan_celeba_128/models/200000-G.ckpt
      dadfi-fast models add editor editor.onnx --edit smile:alpha=0.7,style=3 --edit old:alpha=1,style=5
    """
    _require_free(name, force=force)
    checkpoint = {"--attributes": attributes, "--reference": references, "--half": half}
    if file.suffix.lower() == add_onnx.SUFFIX:
        _refuse({**checkpoint, "--decoder": decoder}, f"{file.name} is an ONNX file")
        add_onnx.add(name, file, add_onnx.wishes(image_size, network), staged=_staged)
        return
    _refuse(network, f"{file.name} is not an ONNX file")
    need_torch()
    from dadfi_fast.deepfakes.official import Wishes, read_official
    from dadfi_fast.deepfakes.official_encoders import read_encoder

    if encoder := read_encoder(file, decoder=decoder, image_size=image_size):
        _refuse(checkpoint, f"{file.name} is an encoder")
        _add_encoder(encoder, name)
        return
    pictures = [_pictures(path) for path in references]
    official = read_official(file, Wishes(image_size, attributes, pictures))
    _refuse({"--decoder": decoder}, f"{file.name} is not an encoder of the TAESD family")
    described = f"{official.family}, {official.image_size} px, {', '.join(official.attributes)}"
    console.message(f"{file.name}: {described}; sha256 {official.sha256}" + (", as published" * official.known))
    for note in official.notes:
        console.message(f"note: {note}")
    facts = {"references": [path.name for path in references]} if references else {}
    with _staged(name) as stage:
        _copy(official, stage)
        card = _release(official, stage, name=name, half=half, facts=facts)
        _require_same(card, official)
    console.result(str(user_folder() / name / card.file.name))


def _add_encoder(encoder: OfficialEncoder, name: str) -> None:
    from dadfi_fast.cli.models.add_encoder import described, store

    original = encoder.original
    published = ", as published" if original.known else ""
    console.message(f"{original.file.name}: {described(encoder)}; sha256 {original.sha256}{published}")
    with _staged(name) as stage:
        card = store(encoder, stage, name=name)
    console.result(str(user_folder() / name / card.file.name))


def _require_free(name: str, *, force: bool) -> None:
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a valid model name. Use letters, digits, '-', '_' and '.'")
    bundled, *_ = folders()
    if name.casefold() in (card.name.casefold() for card in cards(bundled)):
        raise UsageError(f"{name} is the name of a bundled model. Choose another name.")
    home = user_folder()
    taken = {path.name.casefold() for path in home.iterdir()} if home.is_dir() else set()
    if name.casefold() in taken and not force:
        raise UsageError(
            f"a model named {name} already exists in {home}. Choose another name, or replace it with --force."
        )


def _refuse(given: Mapping[str, object], why: str) -> None:
    """Refuse options that are for files of another kind."""
    options = {"edits": "--edit", "picture": "--input", "values": "--range", "output_range": "--output-range"}
    for name, value in given.items():
        if value:
            option = options.get(name, name if name.startswith("-") else f"--{name}")
            raise UsageError(f"{why}, which takes no {option}")


def _pictures(path: Path) -> list[UInt8]:
    """A reference picture, or the first ones of a folder in name order."""
    from dadfi_fast.deepfakes.official import STYLES
    from dadfi_fast.images.decode import HEAD, decode, open_picture, recognise

    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    if path.is_dir():
        files = [file for file in files if recognise(file.read_bytes()[:HEAD])][:STYLES]
    if not files:
        raise UsageError(f"--reference {path}: no image in this folder")
    try:
        return [decode(open_picture(file.read_bytes(), max_pixels=MAX_PIXELS), file).pixels for file in files]
    except PhotoError as error:
        raise UsageError(f"--reference {path}: {error}") from error


@contextmanager
def _staged(name: str) -> Iterator[Path]:
    """A folder that becomes the model's own if all goes well, and else is gone.

    Raises:
        DiskError: the user's data folder cannot be written to.
    """
    home = user_folder()
    stage = home / f".{name}.{os.getpid()}"
    try:
        stage.mkdir(parents=True)
        yield stage
        _replace(home / name, stage)
    except OSError as error:
        fix = f"Free some space, or set {MODELS_VARIABLE} to another folder"
        raise DiskError(f"cannot write to {home} ({error}). {fix}.") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace(target: Path, stage: Path) -> None:
    """Put ``stage`` in the place of ``target``; what was there is deleted only once the new one stands."""
    old = stage.with_name(f"{stage.name}.old")
    if target.exists():
        target.rename(old)
    try:
        stage.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _copy(official: Official, stage: Path) -> None:
    """The checkpoint as it was given, in a folder of its own: its name may be that of another file here."""
    (stage / "original").mkdir()
    for file in official.files:
        shutil.copyfile(file, stage / "original" / file.name)


def _release(official: Official, stage: Path, *, name: str, half: bool, facts: dict[str, Any]) -> Card:
    from dadfi_fast.export.release import release_deepfake

    weights = official.files[-1].name
    original = {"file": f"original/{weights}", "sha256": official.sha256, "bytes": official.size}
    status = "The hash is that of the published file." if official.known else "The hash is of no published file."
    return release_deepfake(
        official.module,
        stage,
        name=name,
        family=official.family,
        image_size=official.image_size,
        edit_size=official.edit_size,
        facts={"source": "added", "original": original, "published": official.known, **official.facts, **facts},
        text=f"Added by the user, made from {weights}. {status}",
        half=half,
        licence=LICENCES[official.family],
    )


def _require_same(card: Card, official: Official) -> None:
    """Load what was written as `check` will, and compare it with the checkpoint on a picture of noise."""
    import numpy as np
    import torch

    from dadfi_fast.deepfakes.onnx_model import DeepfakeModel

    model = DeepfakeModel(card)
    picture = np.random.default_rng(0).uniform(-1, 1, (1, 3, model.image_size, model.image_size)).astype(np.float32)
    edit = model.edits(np.zeros((1, len(model.attributes)), np.float32))[0]
    with torch.no_grad():
        wanted = official.module(torch.from_numpy(picture), torch.tensor(edit)).clamp(-1, 1).numpy()
    difference = float(np.abs(model.fake(picture, edit) - wanted).mean())
    if not difference <= TOLERANCE:
        raise WeightsError(
            f"the ONNX file made from {official.files[-1]} gives different images"
            f" (mean difference {difference:.3g} of 2). Nothing was added."
        )
