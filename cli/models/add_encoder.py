"""``dadfi-fast models add`` with an encoder: the copy, the ONNX files and the card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dadfi_fast.deepfakes.encoders import ENCODERS, EncoderModel, code_distance
from dadfi_fast.errors import WeightsError
from dadfi_fast.model_card import Card

if TYPE_CHECKING:
    from dadfi_fast.deepfakes.official_encoders import OfficialEncoder, Original

#: The licences of the published files, and whose they are.
LICENCES: Final = {
    "taesd": "MIT (github.com/madebyollin/taesd)",
    "mobilefacenet": "Apache-2.0 (github.com/foamliu/MobileFaceNet)",
}
#: d_code that the ONNX file's answer may have from the checkpoint's, and mean difference of the decoder's pictures on
#: the [-1, 1] scale.
TOLERANCE: Final = 1e-4, 0.01


def described(encoder: OfficialEncoder) -> str:
    """An encoder in words."""
    kind, more = ENCODERS[encoder.family], " and decoder" if encoder.decoder else ""
    return f"{encoder.family}, {encoder.image_size} px, {encoder.code_size} numbers a code ({kind.reads}){more}"


def store(encoder: OfficialEncoder, stage: Path, *, name: str) -> Card:
    """Write the encoder to the folder ``stage``, and compare what was written with the official file.

    Raises:
        WeightsError: the two differ.
    """
    card = _release(encoder, stage, name=name)
    _require_same(EncoderModel(card), encoder)
    return card


def _release(encoder: OfficialEncoder, stage: Path, *, name: str) -> Card:
    from dadfi_fast.export.release import release_decoder, release_encoder

    originals = {"original": encoder.original}
    if encoder.decoder:
        originals["original/decoder"] = encoder.decoder.original
    copies = {folder: _copied(original, stage, folder) for folder, original in originals.items()}
    known = all(original.known for original in originals.values())
    facts: dict[str, object] = {"source": "added", "original": copies["original"], "published": known}
    if encoder.decoder:
        written = release_decoder(encoder.decoder.module, stage, name=name, code_size=encoder.code_size)
        facts["decoder"] = {**written, "original": copies["original/decoder"]}
    names = " and ".join(original.file.name for original in originals.values())
    status = "as published" if known else "not, or not all, published files"
    return release_encoder(
        encoder.module,
        stage,
        name=name,
        family=encoder.family,
        image_size=encoder.image_size,
        facts=facts,
        text=f"Added by the user, made from {names} ({status}).",
        licence=LICENCES[encoder.family],
    )


def _copied(original: Original, stage: Path, folder: str) -> dict[str, Any]:
    """Copy a file as it was given to a folder in ``stage``; what the card says of it."""
    (stage / folder).mkdir()
    shutil.copyfile(original.file, stage / folder / original.file.name)
    return original.facts(folder)


def _require_same(model: EncoderModel, encoder: OfficialEncoder) -> None:
    """Run what was written as `check` will, and compare it with the official network on a picture of noise."""
    import numpy as np
    import torch

    picture = np.random.default_rng(0).uniform(-1, 1, (1, 3, model.image_size, model.image_size)).astype(np.float32)
    with torch.no_grad():
        code = encoder.module(torch.from_numpy(picture))
        image = encoder.decoder.module(code).numpy() if encoder.decoder else None
    checks = [(encoder.original.file, float(code_distance(code.numpy(), model.encode(picture))[0]), TOLERANCE[0])]
    if encoder.decoder and image is not None:
        difference = float(np.abs(model.decode(code.numpy()) - image).mean())
        checks.append((encoder.decoder.original.file, difference, TOLERANCE[1]))
    for file, difference, allowed in checks:
        if not difference <= allowed:
            raise WeightsError(
                f"the ONNX file made from {file} gives other outputs (difference {difference:.3g}). Nothing was added."
            )
