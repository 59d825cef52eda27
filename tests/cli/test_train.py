"""Both training commands from pictures on disk to files that the other commands take."""

from __future__ import annotations

import functools
import io
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from safetensors.torch import load_file

from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.backends.registry import choose
from dadfi_fast.cli.train import journal
from dadfi_fast.deepfakes.edits import ATTRIBUTES
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.deepfakes.stargan import Generator
from dadfi_fast.deepfakes.torch_model import load_targets, read_weights
from dadfi_fast.errors import UsageError
from dadfi_fast.export.release import release_deepfake
from dadfi_fast.files import sha256
from dadfi_fast.model_card import read_card
from dadfi_fast.training import checkpoint, validate
from dadfi_fast.training.widen import widen

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("traced_once")]

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name twelve labelled pictures."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    archive, table = folder / "faces.tar", folder / "attributes.csv"
    rows = [f"image,{','.join(ATTRIBUTES)}"]
    with tarfile.open(archive, "w") as tar:
        for i in range(12):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
            member = tarfile.TarInfo(f"{i:02}.png")
            member.size = len(file.getvalue())
            tar.addfile(member, io.BytesIO(file.getvalue()))
            labels = [*(int(i % 3 == colour) for colour in range(3)), *rng.integers(0, 2, 2)]  # of every hair colour
            rows.append(f"{i:02}.png,{','.join(map(str, labels))}")
    table.write_text("\n".join(rows))
    return ["--data", str(archive), "--attributes", str(table)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small deepfake model."""
    torch.manual_seed(0)
    generator = Generator(conv_dim=4, repeat_num=1)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("models")
    what = {"family": "stargan", "image_size": 16, "edit_size": 5, "facts": {"labels": list(ATTRIBUTES), "seed": 0}}
    release_deepfake(generator, folder, name="stargan-128", text="Tiny.", **what)
    return folder


def small(**settings: object) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


TINY = small(image_size=32, stored_size=32, batch=4, teacher_batches=1, teacher_steps=1)


@pytest.fixture(autouse=True)
def a_short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small picture is enough to see that the JPEG equivalent is measured; `trained` looks at them as shipped."""
    monkeypatch.setattr(validate, "LOOKED_AT", 1)
    monkeypatch.setattr(validate, "SEEN_AT", 64)


@pytest.fixture(scope="module")
def trained(
    command: Command, data: list[str], models: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Result, Path]:
    """What ``train`` said after two steps, and its folder; to be copied by who changes it."""
    out = tmp_path_factory.mktemp("trained") / "run"
    return command("train", *data, *TINY, "--models-dir", models, "--steps", 2, "--out", out), out


def test_train_writes_a_generator_that_a_backend_runs(trained: tuple[Result, Path], models: Path) -> None:
    result, out = trained
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out / "generator-s.onnx")
    generator_file = load_generator_file(str(out / "generator-s.onnx"))
    crops = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    deltas = [choose(name)[0](generator_file, precision="f32")(crops) for name in ("torch", "openvino")]
    np.testing.assert_allclose(deltas[0], deltas[1], atol=1e-4)
    facts = read_card(out / "generator-s.md").extra
    assert facts["steps"] == 2 and facts["seed"] == 0
    assert [d["archive"] for d in facts["data"]] == ["faces.tar"]
    assert facts["targets"][0]["sha256"] == read_card(models / "stargan-128.md").sha256
    assert "/" not in facts["command"]  # no folder of this machine


def test_train_goes_on_where_it_stopped(
    command: Command, data: list[str], models: Path, trained: tuple[Result, Path], tmp_path: Path
) -> None:
    shutil.copytree(trained[1], tmp_path / "run")
    before = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    result = command("train", *data, *TINY, "--models-dir", models, "--out", tmp_path / "run", "--steps", 3)
    assert result.exit_code == 0, result.output
    assert before["steps"] == 2 and read_card(tmp_path / "run" / "generator-s.md").extra["steps"] == 3


def test_train_starts_from_another_generator(
    command: Command, data: list[str], models: Path, trained: tuple[Result, Path], tmp_path: Path
) -> None:
    common = ["train", *data, *TINY, "--models-dir", models, "--steps", 1]
    first, second = trained[1], tmp_path / "second"
    result = command(*common, "--from", first / "generator-s.onnx", "--set", "lr=0.0", "--out", second)
    assert result.exit_code == 0, result.output
    cards = [read_card(folder / "generator-s.md") for folder in (first, second)]
    assert cards[1].extra["started_from"]["sha256"] == cards[0].sha256
    before, after = (load_file(folder / "generator-s.safetensors") for folder in (first, second))
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_train_says_where_a_gate_comes_or_goes(
    command: Command, data: list[str], models: Path, trained: tuple[Result, Path], tmp_path: Path
) -> None:
    common = ["train", *data, *TINY, "--models-dir", models, "--steps", 1]
    without, again = tmp_path / "without", tmp_path / "again"
    result = command(*common, "--from", trained[1] / "generator-s.onnx", "--set", "gated=false", "--out", without)
    assert "has a gate; this one gets none" in result.stderr, result.output
    result = command(*common, "--from", without / "generator-s.onnx", "--out", again)
    assert "generator-s has no gate; this one gets one" in result.stderr, result.output
    crops = np.random.default_rng(0).uniform(-1, 1, (4, 3, 32, 32)).astype(np.float32)
    crops[0], crops[1], crops[2, ..., 16:] = 1, -1, 0.2
    for folder in (without, again):
        generator_file = load_generator_file(str(folder / "generator-s.onnx"))
        names = ("torch", "openvino", "onnxruntime")
        deltas = [choose(name)[0](generator_file, precision="f32")(crops) for name in names]
        assert (np.abs(deltas[0][0]).max() == 0) == (folder == again) and np.abs(deltas[0][1]).max() > 0
        for other in deltas[1:]:
            np.testing.assert_allclose(deltas[0], other, atol=1e-4)


def test_train_widens_what_it_starts_from(
    command: Command, data: list[str], models: Path, trained: tuple[Result, Path], tmp_path: Path
) -> None:
    common = ["train", *data, *TINY, "--models-dir", models, "--steps", 1, "--set", "lr=0.0"]
    first, second = trained[1], tmp_path / "second"
    result = command(*common, "--from", first / "generator-s.onnx", "--set", "preset=m", "--out", second)
    assert result.exit_code == 0, result.output
    before, after = (
        load_file(folder / f"generator-{preset}.safetensors") for folder, preset in ((first, "s"), (second, "m"))
    )
    assert all(torch.equal(after[name], value) for name, value in widen(before).items())
    refused = command(*common, "--from", second / "generator-m.onnx", "--out", tmp_path / "third")
    assert refused.exit_code == 2 and "is of preset m" in refused.stderr


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--set", "lambda_distorsion=1"], "did you mean 'lambda_distortion'"),
        (["--set", "steps"], "not of the form KEY=VALUE"),
        (["--recipe", "released"], "Available: initiative, mse, paper, release"),
    ],
    ids=["unknown setting", "no value", "unknown recipe"],
)
def test_train_tells_wrong_usage(
    command: Command, data: list[str], models: Path, tmp_path: Path, extra: list[str], message: str
) -> None:
    result = command("train", *data, "--models-dir", models, "--out", tmp_path / "run", *extra)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


#: Sizes that train in a moment.
TINY_FAMILIES = {
    "stargan": small(conv_dim=4, critic_dim=4, critic_layers=3, batch=4),
    "stargan2": small(width=4, max_width=8, mapping_width=8, batch=2),
    "stgan": small(dim=4, layers=3, critic_dim=4, critic_layers=3, critic_fc=8, batch=4),
    "stgan-sac": small(dim=4, layers=3, critic_dim=4, critic_layers=3, critic_fc=8, batch=4),
}


@pytest.fixture(scope="module")
def judge(command: Command, data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a small classifier."""
    out, test = tmp_path_factory.mktemp("judge"), ["--test", data[1], "--image-size", 32]
    result = command("models", "train", "attributes", *data, *test, *small(width=4), "--steps", 1, "--out", out)
    assert result.exit_code == 0, result.output
    assert set(read_card(out / "attributes-32.md").extra["test_accuracy"]) == set(ATTRIBUTES)
    return out / "attributes-32.md"


@pytest.fixture(scope="module")
def trained_models(
    command: Command, data: list[str], judge: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The folder of a family's training, of two steps; to be left as it is."""

    @functools.cache
    def make(family: str) -> Path:
        out = tmp_path_factory.mktemp(family)
        arguments = [*data, "--test", data[1], "--image-size", 32, *TINY_FAMILIES[family], "--judge", judge]
        steps = ["--steps", 2, "--save-every", 1, "--threads", 1]
        result = command("models", "train", family, *arguments, *steps, "--out", out)
        assert result.exit_code == 0, result.output
        return out

    return make


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_models_train_writes_a_model_with_its_curve(family: str, trained_models: Callable[[str], Path]) -> None:
    out = trained_models(family)
    card = read_card(out / f"{family}-32.md")
    card.verify()
    assert card.extra["edit_accuracy"] and card.extra["test_n"] == 12
    assert [point["step"] for point in card.extra["curve"]] == [1, 2]
    assert (out / "sheet-000002.png").is_file()
    model = DeepfakeModel(card)
    edits = model.edits(np.zeros((1, len(model.attributes)), np.float32))
    assert model.fake(np.zeros((1, 3, 32, 32), np.float32), edits[0]).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("family", "steps", "kept"),
    [
        pytest.param("stargan", 5, [3, 5], id="stargan"),  # the one after step 4 is one too many
        pytest.param("stargan2", 3, [3], id="stargan2"),  # whose average is several networks; the others are as StarGAN
    ],
)
def test_models_train_goes_on_from_a_compact_checkpoint_and_keeps_snapshots(
    family: str, steps: int, kept: list[int],
    command: Command, data: list[str], trained_models: Callable[[str], Path], tmp_path: Path,
) -> None:  # fmt: skip
    first, small, out = trained_models(family), tmp_path / "small.pt", tmp_path / "second"
    checkpoint.save(small, checkpoint.compact(checkpoint.load(first / "checkpoint.pt")))
    arguments = [*data, "--image-size", 32, *TINY_FAMILIES[family], "--threads", 1, "--save-every", 1, "--from", small]
    result = command("models", "train", family, *arguments, "--steps", steps, "--snapshots", 2, "--out", out)
    assert result.exit_code == 0, result.output
    card = read_card(out / f"{family}-32.md")
    assert card.extra["steps"] == steps
    assert card.extra["started_from"] == {"name": "small.pt", "sha256": sha256(small)}
    snapshots = [read_card(path) for path in sorted((out / "snapshots").glob("*.md"))]
    assert [snapshot.extra["steps"] for snapshot in snapshots] == kept
    assert len(list((out / "snapshots").glob("*.onnx"))) == len(kept)
    target = load_targets(snapshots)[0]
    picture, edit = torch.zeros(1, 3, 32, 32), target.edits(torch.zeros(1, len(target.columns)))[0]
    assert target.fake(picture, edit).shape == (1, 3, 32, 32)


def test_models_train_starts_from_a_model(
    command: Command, data: list[str], models: Path, trained_models: Callable[[str], Path], tmp_path: Path
) -> None:
    first, second = trained_models("stargan"), tmp_path / "second"
    arguments = [*data, "--image-size", 32, *TINY_FAMILIES["stargan"], "--threads", 1, "--steps", 1]
    again = [*arguments, "--set", "lr=0.0", "--from", first / "stargan-32.md", "--out", second]
    assert command("models", "train", "stargan", *again).exit_code == 0
    before, after = (read_weights(folder / "stargan-32.onnx") for folder in (first, second))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    refused = command("models", "train", "stargan", *arguments, "--from", models / "stargan-128.md", "--out", tmp_path)
    assert refused.exit_code != 0 and "cannot start from these weights" in refused.stderr


def test_models_train_tells_an_unknown_setting(command: Command, data: list[str], tmp_path: Path) -> None:
    result = command("models", "train", "stargan", *data, "--out", tmp_path / "run", *small(width=4))
    assert result.exit_code == 2
    assert "no such setting" in result.stderr and "conv_dim" in result.stderr


class Writer:
    """Stands in for TensorBoard's."""

    scalars: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, folder: str) -> None:
        assert folder

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing to close."""

    def add_scalar(self, name: str, value: float, number: int) -> None:
        assert np.isfinite(value)
        self.scalars.append((name, number))


def test_the_losses_go_to_tensorboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    with journal(tmp_path) as log:
        log(50, {"hinge": 0.5}, 2.0)
    assert Writer.scalars == [("hinge", 50), ("steps per second", 50)]


def test_without_tensorboard_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="pip install tensorboard"), journal(tmp_path):
        pass
