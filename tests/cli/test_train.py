"""Both training commands from pictures on disk to files that the other commands take."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image

from dadfi_fast.backends.artifact import load_artifact
from dadfi_fast.backends.choice import choose
from dadfi_fast.card import read_card
from dadfi_fast.deepfakes.edits import ATTRIBUTES
from dadfi_fast.deepfakes.stargan import Generator
from dadfi_fast.export.release import release_stargan

Command = Callable[..., Result]


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """The options that name twelve labelled pictures."""
    rng = np.random.default_rng(0)
    archive, table = tmp_path / "faces.tar", tmp_path / "attributes.csv"
    rows = [f"image,{','.join(ATTRIBUTES)}"]
    with tarfile.open(archive, "w") as tar:
        for i in range(12):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
            member = tarfile.TarInfo(f"{i:02}.png")
            member.size = len(file.getvalue())
            tar.addfile(member, io.BytesIO(file.getvalue()))
            rows.append(f"{i:02}.png,{','.join(str(v) for v in rng.integers(0, 2, 5))}")
    table.write_text("\n".join(rows))
    return ["--data", str(archive), "--attributes", str(table)]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with one small deepfake model."""
    torch.manual_seed(0)
    generator = Generator(conv_dim=4, repeat_num=1)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path / "models"
    release_stargan(generator, folder, name="stargan-64", image_size=16, run={"seed": 0}, text="Tiny.")
    return folder


def small(**settings: object) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


TINY = small(image_size=32, stored_size=32, batch=4, teacher_batches=1, teacher_steps=1)


def test_train_writes_a_generator_that_a_backend_runs(
    command: Command, data: list[str], models: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = command("train", *data, *TINY, "--models-dir", models, "--steps", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out / "generator-s.onnx")
    artifact = load_artifact(str(out / "generator-s.onnx"))
    crops = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    deltas = [choose(name)[0](artifact, precision="f32")(crops) for name in ("torch", "openvino")]
    np.testing.assert_allclose(deltas[0], deltas[1], atol=1e-4)
    facts = read_card(out / "generator-s.md").extra
    assert facts["steps"] == 2 and facts["seed"] == 0
    assert [d["archive"] for d in facts["data"]] == ["faces.tar"]
    assert facts["targets"][0]["sha256"] == read_card(models / "stargan-64.md").sha256
    assert "/" not in facts["command"]  # no folder of this machine


def test_train_goes_on_where_it_stopped(command: Command, data: list[str], models: Path, tmp_path: Path) -> None:
    arguments = ["train", *data, *TINY, "--models-dir", models, "--out", tmp_path / "run"]
    command(*arguments, "--steps", 1)
    assert command(*arguments, "--steps", 3).exit_code == 0
    assert read_card(tmp_path / "run" / "generator-s.md").extra["steps"] == 3


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--set", "lambda_distorsion=1"], "did you mean 'lambda_distortion'"),
        (["--set", "steps"], "not KEY=VALUE"),
        (["--recipe", "released"], "there are: paper, release"),
    ],
    ids=["unknown setting", "no value", "unknown recipe"],
)
def test_train_tells_wrong_usage(
    command: Command, data: list[str], models: Path, tmp_path: Path, extra: list[str], message: str
) -> None:
    result = command("train", *data, "--models-dir", models, "--out", tmp_path / "run", *extra)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_models_train_writes_a_model_with_its_edit_accuracy(command: Command, data: list[str], tmp_path: Path) -> None:
    judge, out = tmp_path / "judge", tmp_path / "stargan"
    test = ["--test", data[1], "--image-size", 32]
    result = command("models", "train", "attributes", *data, *test, *small(width=4), "--steps", 1, "--out", judge)
    assert result.exit_code == 0, result.output
    assert set(read_card(judge / "attributes-32.md").extra["test_accuracy"]) == set(ATTRIBUTES)
    sizes = small(conv_dim=4, critic_dim=4, critic_layers=3, batch=4)
    judged = ["--judge", judge / "attributes-32.md", "--steps", 1, "--out", out]
    result = command("models", "train", "stargan", *data, *test, *sizes, *judged)
    assert result.exit_code == 0, result.output
    card = read_card(out / "stargan-32.md")
    assert set(card.extra["edit_accuracy"]) == set(ATTRIBUTES) and card.extra["test_n"] == 12
    card.verify()


def test_models_train_tells_an_unknown_setting(command: Command, data: list[str], tmp_path: Path) -> None:
    result = command("models", "train", "stargan", *data, "--out", tmp_path / "run", *small(width=4))
    assert result.exit_code == 2
    assert "no such setting" in result.stderr and "conv_dim" in result.stderr
