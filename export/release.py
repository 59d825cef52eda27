"""From a training run to what ships: an ONNX file, its card, and for a generator the weights that torch reads."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from dadfi_fast.deepfakes.attributes import AttributeClassifier
from dadfi_fast.deepfakes.edits import ATTRIBUTES, FAMILIES
from dadfi_fast.device import cpu
from dadfi_fast.export.to_onnx import export_generator, export_module
from dadfi_fast.files import sha256
from dadfi_fast.model_card import Card, read_card, write_card
from dadfi_fast.models.generator import Generator
from dadfi_fast.training.loop import Progress

#: What was trained on CelebA may be used as CelebA may; the code's licence does not cover it.
LICENCE = "weights: non-commercial research, as the CelebA pictures they were trained on; code: Apache-2.0"


def release_generator(
    generator: Generator, folder: Path, *, name: str, image_size: int, run: Mapping[str, Any], text: str
) -> Card:
    """Write ``NAME.onnx``, ``NAME.safetensors`` and the card ``NAME.md`` to ``folder``.

    Args:
        image_size: pixels a side of the crops that it was trained on, and that it is given.
        run: how it was trained (`run_facts`).
        text: what people should know, Markdown.
    """
    path = folder / f"{name}.onnx"
    export_generator(generator, path)
    save_file(generator.state_dict(), path.with_suffix(".safetensors"))
    facts = {"lim": generator.lim, "preset": generator.preset, "gated": generator.gated}
    return _card(generator, path, family="generator", image_size=image_size, facts=facts | dict(run), text=text)


def release_deepfake(
    module: nn.Module, folder: Path, *, name: str, family: str, image_size: int, edit_size: int,
    facts: Mapping[str, Any], text: str, half: bool = True, licence: str = LICENCE,
) -> Card:  # fmt: skip
    """Write a deepfake model: inputs "image" [B, 3, S, S] and the edit [B, D], output "fake".

    Args:
        module: called with pictures and edits.
        family: one of `dadfi_fast.deepfakes.edits.FAMILIES`, which also names the second input.
        edit_size: D.
        facts: what the card says besides: ``labels`` (and ``styles``) at least, and how it was trained (`run_facts`).
        half: store the weights as float16; arithmetic stays float32.
    """
    path = folder / f"{name}.onnx"
    example = (torch.zeros(2, 3, image_size, image_size), torch.zeros(2, edit_size))
    shapes = ({0: torch.export.Dim("batch")}, {0: torch.export.Dim.AUTO})  # the exporter finds that the two are one
    io: dict[str, Any] = {"inputs": ["image", FAMILIES[family].takes], "output": "fake", "shapes": shapes}
    export_module(module, path, example=example, facts={}, half=half, fold=False, **io)
    return _card(module, path, family=family, image_size=image_size, facts=facts, text=text, licence=licence)


def release_encoder(
    module: nn.Module, folder: Path, *, name: str, family: str, image_size: int, facts: Mapping[str, Any], text: str,
    licence: str,
) -> Card:  # fmt: skip
    """Write an encoder: input "image" [B, 3, S, S] in [-1, 1], output "code" [B, D].

    Args:
        module: called with pictures.
        family: one of `dadfi_fast.deepfakes.encoders.ENCODERS`.
        facts: what the card says besides; ``original`` names the official file, which training reads.
    """
    path, batch = folder / f"{name}.onnx", {0: torch.export.Dim("batch")}
    example = (torch.zeros(2, 3, image_size, image_size),)
    export_module(module, path, example=example, inputs=["image"], output="code", shapes=(batch,), facts={})
    return _card(module, path, family=family, image_size=image_size, facts=facts, text=text, licence=licence)


def release_decoder(module: nn.Module, folder: Path, *, name: str, code_size: int) -> dict[str, str]:
    """Write what turns codes back into pictures: input "code" [B, D], output "image" [B, 3, S, S] in [-1, 1].

    Args:
        module: called with codes.
        name: of the encoder; the file is ``NAME-decoder.onnx``.
        code_size: D.

    Returns:
        ``file`` and ``sha256``, for the encoder's card (``decoder``).
    """
    path, batch = folder / f"{name}-decoder.onnx", {0: torch.export.Dim("batch")}
    example = (torch.zeros(2, code_size),)
    export_module(module, path, example=example, inputs=["code"], output="image", shapes=(batch,), facts={})
    return {"file": path.name, "sha256": sha256(path)}


def release_attributes(
    model: AttributeClassifier, folder: Path, *, name: str, image_size: int, run: Mapping[str, Any], text: str
) -> Card:
    """Write an attribute classifier with float16 weights: input "image" [B, 3, S, S], output "logits" [B, A]."""
    path, batch = folder / f"{name}.onnx", {0: torch.export.Dim("batch")}
    example = (torch.zeros(2, 3, image_size, image_size),)
    export_module(model, path, example=example, inputs=["image"], output="logits", shapes=(batch,), facts={}, half=True)
    facts = {"labels": list(ATTRIBUTES)} | dict(run)
    return _card(model, path, family="attributes", image_size=image_size, facts=facts, text=text)


def run_facts(*, command: str, seed: int, progress: Progress, data: Sequence[Path]) -> dict[str, Any]:
    """How a model was trained, for its card: enough to do it again."""
    return {
        "command": command,
        "seed": seed,
        "steps": progress.steps,
        "minutes": round(progress.minutes, 1),
        "machine": f"{cpu()[0]}, {torch.get_num_threads()} threads",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}",
        "data": [{"archive": path.name, "sha256": sha256(path)} for path in data if path.is_file()],
    }


def _card(
    model: nn.Module, path: Path, *, family: str, image_size: int, facts: Mapping[str, Any], text: str,
    licence: str = LICENCE,
) -> Card:  # fmt: skip
    own = {
        "name": path.stem,
        "family": family,
        "file": path.name,
        "sha256": sha256(path),
        "image_size": image_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "licence": licence,
    }
    card = path.with_suffix(".md")
    write_card(card, own | dict(facts), text)
    return read_card(card)
