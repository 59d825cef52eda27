from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from dadfi_fast.backends.generator_file import GeneratorFile, load_generator_file
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.backends.torch import Torch
from dadfi_fast.errors import DiskError, UsageError, WeightsError
from dadfi_fast.export import generator
from dadfi_fast.files import sha256
from dadfi_fast.model_card import amend_card, read_card
from dadfi_fast.types import LEVELS, Float32


def facts(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.fixture
def crops() -> Float32:
    return np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def alone(released: GeneratorFile, tmp_path: Path) -> Path:
    """Weights without an ONNX file; the card names the weights."""
    folder = tmp_path / "alone"
    folder.mkdir()
    assert released.safetensors is not None
    weights = Path(shutil.copy(released.safetensors, folder))
    shutil.copy(released.onnx.with_suffix(".md"), folder)
    card = read_card(folder / "toy.md")
    amend_card(card, {"file": weights.name, "sha256": sha256(weights)})
    return weights


def test_what_is_written_is_a_generator_again(released: GeneratorFile, tmp_path: Path, crops: Float32) -> None:
    output = generator.write(generator.read(str(released.onnx)), tmp_path / "new" / "folder")
    assert (output.name, output.lim, output.preset) == ("toy", 0.04, "s")
    assert np.array_equal(OnnxRuntime(output, threads=1)(crops), OnnxRuntime(released, threads=1)(crops))
    assert np.array_equal(Torch(output, threads=1)(crops), Torch(released, threads=1)(crops))


def test_the_file_says_what_it_is(released: GeneratorFile, tmp_path: Path) -> None:
    output = generator.write(generator.read(str(released.onnx)), tmp_path)
    expected = {"dadfi.generator": released.sha256, "dadfi.lim": "0.04", "dadfi.preset": "s", "dadfi.range": "[-1, 1]"}
    assert facts(output.onnx) == expected


def test_the_card_says_where_it_came_from_and_keeps_the_rest(released: GeneratorFile, tmp_path: Path) -> None:
    output = generator.write(generator.read(str(released.onnx)), tmp_path, narrow=True)
    card = read_card(output.onnx.with_suffix(".md"))
    assert card.name == "toy-f16" and card.sha256 == sha256(output.onnx)
    assert card.extra["exported_from"] == {"name": "toy", "sha256": released.sha256}
    assert card.extra["precision"].startswith("f16")
    assert (card.extra["command"], card.extra["seed"]) == ("none", 7)
    assert "Random weights." in card.path.read_text()


def test_half_is_the_same_within_a_quarter_of_a_level(released: GeneratorFile, tmp_path: Path, crops: Float32) -> None:
    output = generator.write(generator.read(str(released.onnx)), tmp_path, narrow=True)
    assert output.safetensors is None  # torch would run them in float32
    assert output.onnx.stat().st_size < 0.6 * released.onnx.stat().st_size
    apart = np.abs(OnnxRuntime(output, threads=1)(crops) - OnnxRuntime(released, threads=1)(crops)) * LEVELS
    assert 0 < apart.max() < 0.25


def test_a_gate_comes_along(gated: GeneratorFile, released: GeneratorFile, tmp_path: Path, crops: Float32) -> None:
    """To ONNX, from its weights alone, to float16 and to fused nodes; a white crop is left as it is."""
    assert gated.safetensors is not None and gated.gated and not released.gated
    crops = np.concatenate([crops, np.ones_like(crops[:1])])
    truth = Torch(gated, threads=1)(crops)
    assert np.abs(Torch(released, threads=1)(crops)[2]).max() > 0 == np.abs(truth[2]).max()
    alone = tmp_path / "alone"
    alone.mkdir()
    weights = Path(shutil.copy(gated.safetensors, alone))
    card = read_card(Path(shutil.copy(gated.onnx.with_suffix(".md"), alone)))
    amend_card(card, {"file": weights.name, "sha256": sha256(weights)})
    outputs = {
        "onnx": (gated, 0.01),
        "again": (generator.write(generator.read(str(gated.onnx)), tmp_path / "onnx"), 0.01),
        "weights": (generator.write(generator.read(str(weights)), tmp_path / "weights"), 0.01),
        "fused": (generator.write(generator.read(str(gated.onnx)), tmp_path / "fused", fused=True), 0.01),
        "f16": (generator.write(generator.read(str(gated.onnx)), tmp_path / "f16", narrow=True), 0.25),
    }
    for name, (output, levels) in outputs.items():
        assert output.gated and facts(output.onnx)["dadfi.gated"] == "true", name
        apart = np.abs(OnnxRuntime(output, threads=1)(crops) - truth).max() * LEVELS
        assert apart < levels, name


def test_half_is_not_exported_again(released: GeneratorFile, tmp_path: Path) -> None:
    output = generator.write(generator.read(str(released.onnx)), tmp_path, narrow=True)
    with pytest.raises(UsageError, match="already in float16"):
        generator.read(str(output.onnx))


def test_weights_alone_become_a_file(alone: Path, released: GeneratorFile, tmp_path: Path, crops: Float32) -> None:
    output = generator.write(generator.read(str(alone)), tmp_path / "out")
    assert facts(output.onnx)["dadfi.generator"] == sha256(alone)
    assert np.abs(OnnxRuntime(output, threads=1)(crops) - Torch(released, threads=1)(crops)).max() * LEVELS < 0.01


def test_weights_alone_are_not_run(alone: Path) -> None:
    with pytest.raises(UsageError, match=f"Export it: dadfi-fast export --to onnx --generator {alone}"):
        load_generator_file(str(alone))


def test_weights_beside_their_file_are_that_generator(released: GeneratorFile) -> None:
    assert load_generator_file(str(released.safetensors)) == released


def test_changed_weights_are_refused(alone: Path) -> None:
    alone.write_bytes(alone.read_bytes() + b" ")
    with pytest.raises(WeightsError, match="does not match its card"):
        generator.read(str(alone))


def test_a_generator_is_not_written_over_itself(released: GeneratorFile) -> None:
    before = sha256(released.onnx)
    with pytest.raises(UsageError, match=r"the generator itself. Choose another folder"):
        generator.write(generator.read(str(released.onnx)), released.onnx.parent)
    assert sha256(released.onnx) == before


def test_a_folder_that_cannot_be_made_is_told(released: GeneratorFile, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="cannot write"):
        generator.write(generator.read(str(released.onnx)), tmp_path / "file" / "out")


def test_facts_that_a_file_had_before_are_replaced(released: GeneratorFile, tmp_path: Path) -> None:
    once = generator.write(generator.read(str(released.onnx)), tmp_path / "once")
    twice = generator.write(generator.read(str(once.onnx)), tmp_path / "twice")
    assert facts(twice.onnx)["dadfi.generator"] == once.sha256
    assert replace(twice, onnx=once.onnx, safetensors=once.safetensors, sha256=once.sha256) == once
