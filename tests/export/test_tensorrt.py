from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from dadfi_fast.backends import cuda
from dadfi_fast.backends.generator_file import GeneratorFile, load_generator_file
from dadfi_fast.backends.tensorrt import build, cache
from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.export import tensorrt
from dadfi_fast.export.generator import read, write
from dadfi_fast.model_card import cards

SHIPPED = [card.name for card in cards() if card.family == "generator"]


@pytest.mark.extras("tensorrt-rtx")
@pytest.mark.parametrize("name", SHIPPED)
def test_a_generator_that_ships_is_built_for_cards_that_are_not_here(name: str, tmp_path: Path) -> None:
    """From its exported file, not from the one that ships."""
    exported = write(read(name), tmp_path / "onnx")
    cards = ("sm80", "sm89", "sm120")
    paths = tensorrt.write(build.TENSORRT_RTX, exported, architectures=cards, folder=tmp_path / "engines")
    assert len(set(paths)) == 3
    for path, card in zip(paths, cards, strict=True):
        facts = json.loads(path.with_suffix(".json").read_text())
        assert (facts["target"], facts["precision"], facts["generator"]) == (card, "f16", exported.sha256)
        assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.stat().st_size > exported.onnx.stat().st_size


@pytest.mark.extras("tensorrt-rtx")
def test_an_engine_that_is_there_is_not_built_again(
    released: GeneratorFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tensorrt.write(build.TENSORRT_RTX, released, architectures=("sm89",), folder=tmp_path)
    monkeypatch.setattr(build, "build", None)  # would fail if called
    assert tensorrt.write(build.TENSORRT_RTX, released, architectures=("sm89",), folder=tmp_path) == first


@pytest.mark.extras("tensorrt-rtx")
def test_an_architecture_that_is_none(released: GeneratorFile, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Available: sm75"):
        tensorrt.write(build.TENSORRT_RTX, released, architectures=("sm90",), folder=tmp_path)


@pytest.mark.extras("tensorrt-rtx")
@pytest.mark.skipif(cuda.missing() is None, reason="there is a GPU")
def test_without_a_gpu_cards_must_be_named(released: GeneratorFile, tmp_path: Path) -> None:
    with pytest.raises(BackendMissing, match="or pass GPUs with --arch"):
        tensorrt.write(build.TENSORRT_RTX, released, folder=tmp_path)


def test_what_is_not_installed_is_told() -> None:
    flavour = build.Flavour("x", ("no_such_module_",), (1, 0), "pip install x", ahead_of_time=True)
    with pytest.raises(BackendMissing, match=r"x is not installed\. Run: pip install x"):
        tensorrt.write(flavour, load_generator_file(), architectures=("sm89",))


@pytest.mark.gpu
@pytest.mark.skipif(not build.TENSORRT.installed, reason="tensorrt is not installed")
def test_tensorrt_builds_for_the_gpu_that_is_here(released: GeneratorFile, tmp_path: Path) -> None:
    (path,) = tensorrt.write(build.TENSORRT, released, folder=tmp_path)
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["target"].endswith(cuda.gpu().architecture)
    assert list(path.parent.glob("*.timings"))
    assert path.suffix == cache.SUFFIX
