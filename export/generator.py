"""A generator as an ONNX file of its own, with its card: from a name, an ONNX file, or weights alone."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx

from dadfi_fast.backends.float16 import is_float16, to_float16
from dadfi_fast.backends.generator_file import GATED, GeneratorFile, Shape, generator_card, load_generator_file, stated
from dadfi_fast.errors import DiskError, UsageError
from dadfi_fast.export.fused import fuse
from dadfi_fast.files import sha256
from dadfi_fast.model_card import Card, write_card

#: What a file in float16 is called besides.
HALF: Final = "-f16"
#: What a file with fused nodes is called besides.
FUSED: Final = "-fused"
#: Facts of a card that belong to the file that it names.
_OWN: Final = ("file", "sha256")


@dataclass(frozen=True)
class Source:
    """A generator that is to be exported."""

    card: Card
    model: bytes  # ONNX, float32, the facts inside
    shape: Shape


def read(name: str) -> Source:
    """The generator called ``name``, or at ``FILE.onnx`` or ``FILE.safetensors`` with its card beside it.

    Raises:
        UsageError: there is no such generator, no card, or it is in float16 already.
        WeightsError: the weights are missing or not those of the card.
    """
    card = generator_card(name)
    shape = stated(card)
    model = _from_weights(card.file, shape) if card.file.suffix == ".safetensors" else card.file.read_bytes()
    facts = {"dadfi.generator": card.sha256} | shape.metadata
    return Source(card, _stating(model, facts), shape)


def write(source: Source, folder: Path, *, narrow: bool = False, fused: bool = False) -> GeneratorFile:
    """Write ``NAME.onnx`` and its card, and (for plain float32) the weights that torch reads where there are any.

    Args:
        folder: made if it is not there; files of these names in it are replaced.
        narrow: float16, with the statistics of the norms in float32; ``-f16`` is added to the name.
        fused: one node for norm, ReLU and addition (`dadfi_fast.export.fused`); ``-fused`` is added to the name.

    Returns:
        What was written, as backends take it.

    Raises:
        UsageError: the file would replace the generator that it is made from; there is nothing to fuse.
        DiskError: the folder cannot be written.
    """
    name = source.card.name + FUSED * fused + HALF * narrow
    path = folder / f"{name}.onnx"
    if path.exists() and path.samefile(source.card.file):
        raise UsageError(f"{path} is the generator itself. Choose another folder with --out.")
    model = fuse(source.model) if fused else source.model
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_float16(model) if narrow else model)
        weights = source.card.file.with_suffix(".safetensors")
        if weights.is_file() and not (narrow or fused):
            shutil.copyfile(weights, path.with_suffix(".safetensors"))
        facts = _facts(source, path, narrow=narrow) | ({"nodes": "norm, ReLU and addition in one"} if fused else {})
        write_card(path.with_suffix(".md"), facts, _text(source.card))
    except OSError as error:
        raise DiskError(f"cannot write to {folder}: {error}") from error
    return load_generator_file(str(path))


def _facts(source: Source, path: Path, *, narrow: bool) -> dict[str, Any]:
    card = source.card
    own = {
        "name": path.stem,
        "family": card.family,
        "file": path.name,
        "sha256": sha256(path),
        "image_size": card.image_size,
        "parameters": card.parameters,
        "licence": card.licence,
        "exported_from": {"name": card.name, "sha256": card.sha256},
        "precision": "f16, statistics of the norms in f32" if narrow else "f32",
    }
    return own | {key: value for key, value in card.extra.items() if key not in (*own, *_OWN)}


def _text(card: Card) -> str:
    """What the card tells people; all of it holds for the exported file, too."""
    return card.path.read_text(encoding="utf-8").split("+++", 2)[2]


def _stating(model: bytes, facts: dict[str, str]) -> bytes:
    """The file with ``facts`` in its metadata, whatever it said of them before."""
    read = onnx.load_from_string(model)
    if is_float16(read):
        raise UsageError("this generator is already in float16. Export the generator it was made from (see its card)")
    known = {entry.key: entry.value for entry in read.metadata_props if entry.key != GATED} | facts
    onnx.helper.set_model_props(read, known)
    onnx.checker.check_model(read)
    return bytes(read.SerializeToString())


def _from_weights(path: Path, shape: Shape) -> bytes:
    from safetensors.torch import load_file

    from dadfi_fast.export.to_onnx import export_generator
    from dadfi_fast.models.generator import Generator

    generator = Generator(shape.preset, lim=shape.lim, gated=shape.gated)
    generator.load_state_dict(load_file(path))
    with tempfile.TemporaryDirectory(prefix="dadfi-export-") as folder:
        made = Path(folder) / "generator.onnx"
        export_generator(generator, made)
        return made.read_bytes()
