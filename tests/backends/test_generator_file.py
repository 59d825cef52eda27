from __future__ import annotations

from pathlib import Path

import pytest

from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.errors import UsageError, WeightsError
from dadfi_fast.files import sha256
from dadfi_fast.model_card import write_card

FACTS = {"name": "g", "family": "generator", "file": "g.onnx", "image_size": 0, "parameters": 1, "licence": "none"}


def lay_out(folder: Path, **facts: object) -> str:
    onnx = folder / "g.onnx"
    onnx.write_bytes(b"weights")
    write_card(folder / "g.md", FACTS | {"sha256": sha256(onnx), "lim": 0.05, "preset": "s"} | facts, "Text.")
    return str(onnx)


def test_a_file_with_its_card(tmp_path: Path) -> None:
    generator_file = load_generator_file(lay_out(tmp_path))
    assert (generator_file.name, generator_file.lim, generator_file.preset, generator_file.safetensors) == (
        "g",
        0.05,
        "s",
        None,
    )
    (tmp_path / "g.safetensors").touch()
    assert load_generator_file(str(tmp_path / "g.onnx")).safetensors == tmp_path / "g.safetensors"


@pytest.mark.parametrize(("stated", "size"), [(0, 256), (128, 128)])
def test_the_card_says_how_large_crops_are(tmp_path: Path, stated: int, size: int) -> None:
    assert load_generator_file(lay_out(tmp_path, image_size=stated)).image_size == size


def test_the_card_says_whether_there_is_a_gate(tmp_path: Path) -> None:
    assert not load_generator_file(lay_out(tmp_path)).gated  # as before there were gates
    assert load_generator_file(lay_out(tmp_path, gated=True)).gated
    with pytest.raises(WeightsError, match="gated as true or false, not 'no'"):
        load_generator_file(lay_out(tmp_path, gated="no"))


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = lay_out(tmp_path, sha256="0" * 64)
    with pytest.raises(WeightsError, match="does not match its card"):
        load_generator_file(path)


def test_a_file_without_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").touch()
    with pytest.raises(UsageError, match=r"no card g\.md"):
        load_generator_file(str(tmp_path / "g.onnx"))


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(UsageError, match="generator-x"):
        load_generator_file("generator-x")
