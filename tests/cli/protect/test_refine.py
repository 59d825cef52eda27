"""``protect --refine`` from end to end, against a model that ``models add`` took from a file in the official format."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from PIL import Image

from dadfi_fast import model_card
from dadfi_fast.deepfakes import stargan
from dadfi_fast.training import refiner
from dadfi_fast.types import UInt8
from tests.deepfakes.test_encoders import encoder

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def added(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Random weights in StarGAN's official architecture and at its full width, added as ``mine`` (for 32 px)."""
    folder = tmp_path_factory.mktemp("added")
    torch.manual_seed(0)
    torch.save(stargan.Generator(conv_dim=64, c_dim=5, repeat_num=6).state_dict(), folder / "own-G.ckpt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(model_card.MODELS_VARIABLE, str(folder / "models"))
        result = command("models", "add", "mine", folder / "own-G.ckpt", "--image-size", 32)
        assert result.exit_code == 0, result.stderr
        yield folder


@pytest.fixture
def photos(tmp_path: Path, smooth: Callable[[int, int], UInt8]) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, side in (("a.png", 96), ("b.png", 64)):
        Image.fromarray(smooth(side, side)).save(folder / name)
    return folder


def rows(out: Path) -> dict[str, Any]:
    lines = (out / "dadfi-manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["source"]: row for row in map(json.loads, lines)}


def digests(out: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.glob("*.png"))]


def protect(command: Command, photos: Path, out: Path, *more: object) -> Result:
    options = ("--refine-models", "mine", "--detector", "none", "--device", "cpu", "--check", 0)
    return command("protect", photos, "--out", out, *options, *more)


@pytest.mark.slow
def test_an_official_file_is_refined_against(
    command: Command, added: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refiner, "SEEN", 96)  # fewer than ship; what is refined is the same each time all the same
    sha256 = model_card.find_card("mine").sha256
    out = tmp_path / "out"
    result = protect(command, photos, out, "--refine", 2, "--seed", 3)
    assert result.exit_code == 0, result.stderr
    said = f"refined in 2 white-box steps against mine ({sha256[:12]}), to look like JPEG 75 at worst (seed 3)"
    assert said in result.stderr
    for row in rows(out).values():
        assert row["refined"] == {"steps": 2, "look": 75, "seed": 3, "models": {"mine": sha256}}
        assert row["status"] == "written" and 0 < row["linf"] <= 6

    page = tmp_path / "page.html"
    checked = command(
        "check", out, "--original", photos, "--models", "mine", "--detector", "none", "--visibility", 0, "--report",
        page,
    )  # fmt: skip
    assert said in checked.stdout and said in page.read_text(encoding="utf-8")

    once = digests(out)
    again = protect(command, photos, out, "--refine", 2, "--seed", 3, "--json")  # nothing is left to do
    assert json.loads(again.stdout)["done"] == 2
    other = protect(command, photos, out, "--refine", 3, "--seed", 3, "--json")  # another result: the old one stays
    assert json.loads(other.stdout)["changed"] == 2 and digests(out) == once

    protect(command, photos, tmp_path / "same", "--refine", 2, "--seed", 3)
    assert digests(tmp_path / "same") == once
    command("protect", photos, "--out", tmp_path / "plain", "--detector", "none", "--device", "cpu", "--check", 0)
    assert digests(tmp_path / "plain") != once
    assert all("refined" not in row for row in rows(tmp_path / "plain").values())


@pytest.mark.slow
def test_an_added_encoder_is_refined_against(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(model_card.MODELS_VARIABLE, str(tmp_path / "models"))
    torch.save(encoder().state_dict(), tmp_path / "encoder.pth")
    result = command("models", "add", "latents", tmp_path / "encoder.pth", "--image-size", 64)
    assert result.exit_code == 0, result.stderr
    shifts = []
    for steps in (0, 4):
        out = tmp_path / f"out-{steps}"
        options = ("--refine", steps, "--refine-models", "latents") if steps else ()
        result = command(
            "protect", photos, "--out", out, "--detector", "none", "--device", "cpu", "--check", 0, *options
        )
        assert result.exit_code == 0, result.stderr
        checked = command("check", out, "--original", photos, "--models", "latents", "--detector", "none", "--json")
        shifts.append(json.loads(checked.stdout)["encoders"]["latents"]["shift"])
    assert shifts[1] > 1.2 * shifts[0] > 0


@pytest.mark.slow
def test_processes_refine_as_one_does(
    command: Command, added: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one thread each: sums over more threads round otherwise, and Adam's first steps make much of that."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for the processes
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        protect(command, photos, tmp_path / "one", "--refine", 1)
    finally:
        torch.set_num_threads(threads)
    result = protect(command, photos, tmp_path / "two", "--refine", 1, "--processes", 2)
    assert result.exit_code == 0, result.stderr
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    assert all(row["refined"]["steps"] == 1 for row in rows(tmp_path / "two").values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--refine", 2, "--refine-models", "yours"), "unknown model 'yours'"),
        (("--refine-models", "mine"), "--refine-models needs --refine N"),
        (("--refine", 2, "--refine-look", 99), "99 is not in the range 20<=x<=95"),
        (("--refine", 2, "--decoder", "dali"), "dali"),
    ],
)
def test_what_cannot_be_is_told(
    command: Command, photos: Path, tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    result = command("protect", photos, "--out", tmp_path / "out", "--detector", "none", "--device", "cpu", *options)
    assert result.exit_code == 2 and words in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_without_torch_it_says_what_to_install(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    result = command("protect", photos, "--out", tmp_path / "out", "--device", "cpu", "--refine", 1)
    assert result.exit_code == 2
    assert "--refine needs torch. Run: pip install 'dadfi-fast[train]'" in " ".join(result.stderr.split())


def test_without_it_no_torch_is_loaded(photos: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from dadfi_fast import Protector\n"
        f"Protector(detector='none', device='cpu').files({str(photos)!r}, {str(tmp_path / 'out')!r})\n"
        "assert not {'torch', 'onnx', 'ssimulacra2'} & set(sys.modules), 'loaded'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_the_photo_that_is_being_refined(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "dadfi_fast.cli", "protect", photos, "--out", out, "--detector", "none"]
    words += ["--device", "cpu", "--check", "0", "--refine", "100000"]
    with subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        while not (out / "dadfi-manifest.jsonl").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, said = process.communicate(timeout=60)
        seconds = time.monotonic() - started
    assert process.returncode == 130 and seconds < 5, said
    assert list(rows(out)) == [] and not list(out.glob("*.png"))
