"""The command ``models add``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image

from dadfi_fast import model_card
from dadfi_fast.cli.models import add
from dadfi_fast.deepfakes import stargan, stargan2
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.errors import WeightsError

Command = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder, which is not there yet."""
    monkeypatch.setenv(model_card.MODELS_VARIABLE, str(tmp_path / "models"))
    return tmp_path / "models"


def stargan_file(path: Path, c_dim: int = 5) -> Path:
    torch.manual_seed(0)
    generator = stargan.Generator(conv_dim=4, c_dim=c_dim, repeat_num=1)
    with torch.no_grad():  # the exporter stores equal values once
        for value in generator.parameters():
            value.add_(0.1 * torch.rand_like(value))
    torch.save(generator.state_dict(), path)
    return path


def stargan2_file(path: Path) -> Path:
    torch.manual_seed(0)
    sizes = {"max_width": 8, "width": 4}
    modules = {
        "generator": stargan2.Generator(32, 4, high_pass=0, **sizes),
        "mapping_network": stargan2.MappingNetwork(3, 4, 2, 8),
        "style_encoder": stargan2.StyleEncoder(32, 4, 2, **sizes),
    }
    torch.save({name: module.state_dict() for name, module in modules.items()}, path)
    return path


def picture(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    seed = sum(path.name.encode())
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def added(command: Command, home: Path, tmp_path: Path) -> Path:
    """The folder of a StarGAN that was added as ``mine``."""
    result = command("models", "add", "mine", stargan_file(tmp_path / "G.ckpt"), "--image-size", 64)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{home / 'mine' / 'mine.onnx'}\n"
    assert "G.ckpt: stargan, 64 px, Black_Hair, Blond_Hair, Brown_Hair, Male, Young; sha256 " in result.stderr
    assert "note: G.ckpt is not a published file whose hash is known" in result.stderr
    return home / "mine"


def test_an_added_model_is_known_from_then_on(command: Command, added: Path, tmp_path: Path) -> None:
    assert sorted(p.name for p in added.parent.iterdir()) == ["mine"]
    assert sorted(p.name for p in added.iterdir()) == ["mine.md", "mine.onnx", "original"]
    source = tmp_path / "G.ckpt"
    assert (added / "original" / "G.ckpt").read_bytes() == source.read_bytes()

    row = json.loads(command("models", "list", "--json").stdout)[-1]
    assert (row["name"], row["family"], row["source"], row["image_size"]) == ("mine", "stargan", "added", 64)
    assert row["licence"] == "MIT (github.com/yunjey/stargan)"
    assert command("models", "verify", "mine").stdout == "mine: ok\n"

    facts = model_card.read_card(added / "mine.md")
    original = {"file": "original/G.ckpt", "sha256": model_card.sha256(source), "bytes": source.stat().st_size}
    assert facts.extra["original"] == original and facts.extra["published"] is False
    model = DeepfakeModel(facts)
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32)
    labels = np.eye(5, dtype=np.float32)[:2]
    with torch.no_grad():
        expected = stargan.load_official(torch.load(source))(torch.from_numpy(pixels), torch.from_numpy(labels))
    np.testing.assert_allclose(model.fake(pixels, labels), expected.numpy(), atol=1e-4)


def test_a_name_is_given_once(command: Command, added: Path, tmp_path: Path) -> None:
    other = stargan_file(tmp_path / "other.ckpt", c_dim=3)
    words = ("models", "add", "mine", other, "--image-size", 32, "--attributes", "Male, Young,Bald")
    result = command(*words)
    assert result.exit_code == 2 and "a model named mine already exists" in result.stderr
    assert model_card.read_card(added / "mine.md").image_size == 64
    assert command(*words, "--half", "--force").exit_code == 0
    facts = model_card.read_card(added / "mine.md")
    assert facts.image_size == 32 and facts.extra["labels"] == ["Male", "Young", "Bald"]
    assert [p.name for p in (added / "original").iterdir()] == ["other.ckpt"]
    assert sorted(p.name for p in added.parent.iterdir()) == ["mine"]


def test_references_become_styles(command: Command, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "women"
    for name in ("c.png", "a.png", "b.png"):
        picture(folder / name)
    (folder / "0.txt").write_text("not an image")
    file, man = stargan2_file(tmp_path / "nets_ema.ckpt"), picture(tmp_path / "man.png")
    result = command("models", "add", "v2", file, "--reference", folder, "--reference", man)
    assert result.exit_code == 0, result.stderr
    facts = model_card.read_card(home / "v2" / "v2.md")
    names = [style["name"] for style in facts.extra["styles"] if "reference" in style["name"]]
    assert names == ["female reference 1", "female reference 2", "male reference 1"]
    assert facts.extra["references"] == ["women", "man.png"]
    assert facts.licence.startswith("CC BY-NC 4.0") and facts.family == "stargan2"


def cut(path: Path) -> Path:
    stargan_file(path)
    path.write_bytes(path.read_bytes()[:-3000])
    return path


def written(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("must-not-be",)


def with_code(path: Path) -> Path:
    torch.save({"main.0.weight": Bomb()}, path)
    return path


def missing(path: Path) -> Path:
    return path


#: Name, how the file is made, options, exit code, words of the message.
BAD = [
    ("x", missing, [], 2, "does not exist"),
    ("x", with_code, ["--image-size", "64"], 1, r"is refused: it holds more than tensors, and loading it would call"),
    ("x", cut, ["--image-size", "64"], 1, "is truncated or damaged"),
    ("x", written(b"<html>"), [], 1, "is not a checkpoint of PyTorch or TensorFlow"),
    ("x", written(b""), [], 1, "is empty"),
    ("x", stargan_file, [], 2, "Pass --image-size N"),
    ("x", stargan_file, ["--image-size", "66"], 2, "must be a multiple of 4"),
    ("x", stargan_file, ["--image-size", "8"], 2, "'--image-size': 8 is not in the range"),
    ("x", stargan_file, ["--image-size", "64", "--attributes", "Male"], 2, "the file has 5 attributes"),
    ("x", stargan2_file, ["--reference", "empty"], 2, "no image in this folder"),
    ("x", stargan2_file, ["--reference", "text.png"], 2, "--reference text.png: not a supported image file"),
    ("x", stargan2_file, ["--reference", "picture.png"], 2, "once for each domain, in this order: female, male"),
    ("stargan-128", stargan_file, ["--image-size", "64", "--force"], 2, "is the name of a bundled model"),
    ("StarGAN-128", stargan_file, ["--image-size", "64"], 2, "is the name of a bundled model"),
    ("../x", stargan_file, ["--image-size", "64"], 2, "'../x' is not a valid model name"),
    (".x", stargan_file, ["--image-size", "64"], 2, "is not a valid model name"),
]


@pytest.mark.parametrize(("name", "make", "options", "code", "words"), BAD, ids=[f"{c[0]}: {c[4]}" for c in BAD])
def test_what_cannot_be_added_is_told_and_leaves_nothing(
    command: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, make: Callable[[Path], Path], options: list[str], code: int, words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("not an image")
    picture(tmp_path / "picture.png")
    result = command("models", "add", name, make(tmp_path / "x.ckpt"), *options)
    assert result.exit_code == code
    assert words in " ".join(result.stderr.split())
    assert not home.exists() and not (tmp_path / "must-not-be").exists()


def test_a_failure_later_on_leaves_nothing(
    command: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(official: object, stage: Path, **_: object) -> None:
        assert (stage / "original" / "G.ckpt").is_file()
        raise WeightsError("no ONNX file can be made of it")

    monkeypatch.setattr(add, "_release", fail)
    result = command("models", "add", "x", stargan_file(tmp_path / "G.ckpt"), "--image-size", 32)
    assert result.exit_code == 1 and list(home.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_told(command: Command, home: Path, tmp_path: Path) -> None:
    home.write_text("a file is in the way")
    result = command("models", "add", "x", stargan_file(tmp_path / "G.ckpt"), "--image-size", 32)
    assert result.exit_code == 1
    assert "cannot write to" in result.stderr and "set DADFI_MODELS to another folder" in result.stderr


def test_what_was_there_stays_if_it_cannot_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.md").touch()
    with pytest.raises(OSError, match=r"\.mine\.1"):
        add._replace(tmp_path / "mine", tmp_path / ".mine.1")
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "mine.md"]


def test_an_onnx_file_that_differs_is_not_added(
    command: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(add, "TOLERANCE", 1e-12)
    result = command("models", "add", "x", stargan_file(tmp_path / "G.ckpt"), "--image-size", 32, "--half")
    assert result.exit_code == 1
    assert "gives different images" in result.stderr and list(home.iterdir()) == []
