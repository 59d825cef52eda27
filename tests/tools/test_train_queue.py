"""The training queue, end to end on pictures of 32 pixels."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from dadfi_fast.deepfakes.edits import ATTRIBUTES

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "tools" / "train_queue.py"
SETTINGS = "{ conv_dim = 4, critic_dim = 4, critic_layers = 3, batch = 4 }"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_queue", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_queue"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    """A queue of two trainings, and the data that it names beside it."""
    rng, rows = np.random.default_rng(0), [f"image,{','.join(ATTRIBUTES)}"]
    with tarfile.open(tmp_path / "faces.tar", "w") as tar:
        for i in range(8):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
            member = tarfile.TarInfo(f"{i}.png")
            member.size = len(file.getvalue())
            tar.addfile(member, io.BytesIO(file.getvalue()))
            rows.append(f"{i}.png,{i % 2},{(i + 1) % 2},0,1,0")
    (tmp_path / "attributes.csv").write_text("\n".join(rows))
    entries = [
        f"[[training]]\nname = '{name}'\nfamily = 'stargan'\nsteps = {steps}\nimage_size = 32\nsettings = {SETTINGS}\n"
        for name, steps in (("first", 2), ("second", 3))
    ]
    path = tmp_path / "queue.toml"
    path.write_text("\n".join(["[data]\ntrain = ['faces.tar']\nattributes = 'attributes.csv'", *entries]))
    return path


Run = Callable[..., str]


@pytest.fixture
def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the script in this process, where PyTorch is loaded already, and gives what it prints to stdout."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, words)])
        code = script.main()
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_all_is_trained_in_order_and_what_is_done_stays(run: Run, queue: Path, tmp_path: Path) -> None:
    done = run(queue, "--data", tmp_path, "--runs", tmp_path / "runs")
    assert done.splitlines() == ["first: 2 of 2 steps, 0 left, 0 min", "second: 3 of 3 steps, 0 left, 0 min"]
    assert (tmp_path / "runs" / "second" / "stargan-32.onnx").is_file()
    again = time.monotonic()
    assert run(queue, "--data", tmp_path, "--runs", tmp_path / "runs") == done
    assert time.monotonic() - again < 60  # nothing was trained again
    assert "2 steps" in run(queue, "--runs", tmp_path / "runs", "--pack", "first", "--out", tmp_path)
    small = torch.load(tmp_path / "first.pt", weights_only=True)
    assert small["mean"]["main.0.weight"].dtype == torch.float16 and "g_opt" not in small


def test_in_the_background_until_it_is_ended(run: Run, queue: Path, tmp_path: Path) -> None:
    queue.write_text(queue.read_text().replace("steps = 2", "steps = 1000000"))
    words = [sys.executable, SCRIPT, queue, "--data", tmp_path, "--runs", tmp_path / "runs", "--background"]
    begun = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    number = int(begun.stdout.split()[-1])
    log = tmp_path / "runs" / "first" / "log.txt"
    end = time.monotonic() + 120
    while not (log.is_file() and "step 50" in log.read_text()) and time.monotonic() < end:
        time.sleep(0.2)
    os.kill(number, 15)
    while not (tmp_path / "runs" / "first" / "checkpoint.pt").is_file() and time.monotonic() < end:
        time.sleep(0.2)
    state = run(queue, "--runs", tmp_path / "runs", "--status").splitlines()
    assert int(state[0].split()[1]) >= 50 and state[1].startswith("second: 0 of 3")


def test_the_time_is_limited(run: Run, queue: Path, tmp_path: Path) -> None:
    queue.write_text(queue.read_text().replace("steps = 2", "steps = 1000000"))
    done = run(queue, "--data", tmp_path, "--runs", tmp_path / "runs", "--minutes", "0.02")
    assert "first: 0 of" not in done and "second: 0 of 3" in done


def test_a_start_is_taken_where_it_is_there(script: ModuleType, queue: Path, tmp_path: Path) -> None:
    queue.write_text(queue.read_text().replace("steps = 2", "from = 'small.pt'\nsteps = 2"))
    read, limits = script.read_queue(queue), {"minutes": 1, "threads": 1, "save_every": 1}
    assert "--from" not in read.trainings[0].command(read, tmp_path, tmp_path, **limits)
    (tmp_path / "small.pt").touch()
    words = read.trainings[0].command(read, tmp_path, tmp_path, **limits)
    assert words[words.index("--from") + 1] == str(tmp_path / "small.pt")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 3", "step = 3", "unexpected keyword argument 'step'"),
        ("name = 'second'", "name = 'first'", "two trainings have one name"),
        ("attributes = 'attributes.csv'", "", "'attributes'"),
    ],
)
def test_what_is_wrong_with_a_queue(script: ModuleType, queue: Path, old: str, new: str, message: str) -> None:
    queue.write_text(queue.read_text().replace(old, new))
    with pytest.raises(SystemExit, match=message):
        script.read_queue(queue)


def test_the_queue_that_comes_with_the_project(script: ModuleType) -> None:
    names = [training.name for training in script.read_queue(SCRIPT.with_name("queue.toml")).trainings]
    assert names[:2] == ["stargan-128", "stgan-128"]
