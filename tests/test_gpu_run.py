"""tools/gpu_run.py: rehearsed from end to end, its time limit, and what comes back of a training."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dadfi_fast.deepfakes.edits import ATTRIBUTES
from dadfi_fast.errors import DataError
from dadfi_fast.training import checkpoint

FACES = 60
MIB = 1 << 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tar of pictures and its table; every hair colour is there."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    with tarfile.open(folder / "faces.tar", "w") as tar, (folder / "attributes.csv").open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["image", *ATTRIBUTES])
        for number in range(FACES):
            coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(coarse.repeat(8, axis=0).repeat(8, axis=1)).save(file, "PNG")
            member = tarfile.TarInfo(f"{number:03d}.png")
            member.size = file.tell()
            file.seek(0)
            tar.addfile(member, file)
            hair = [int(number % 3 == colour) for colour in range(3)]
            rows.writerow([member.name, *hair, *rng.integers(0, 2, 2)])
    return folder


def gpu_run(root: Path, *words: object) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run the tool; what it said, and the seconds that it took."""
    start = time.monotonic()
    command = [sys.executable, str(root / "tools" / "gpu_run.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    return done, time.monotonic() - start


@pytest.mark.slow
def test_every_phase_is_rehearsed(root: Path, data: Path, tmp_path: Path) -> None:
    # Less than a minute where nothing else runs; a busy machine gets the time that it needs.
    done, _ = gpu_run(root, "--rehearse", "--minutes", 14, "--data", data, "--out", tmp_path)
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr + log
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    cases = "\n".join(row["case"] for row in rows)
    for phase in ("decode the archive", "instance_norm_residual", "generator s", "steps stgan", "training stargan2"):
        assert phase in cases, (phase, log)
    assert {path.name for path in tmp_path.iterdir()} == {
        "rows.jsonl", "log.txt", "sheets.jpg", "generator.pt", "stargan.pt", "stgan.pt", "stgan-sac.pt", "stargan2.pt",
    }  # fmt: skip
    assert all(path.stat().st_size < 16 * MIB for path in tmp_path.iterdir())
    state = checkpoint.load(tmp_path / "stgan.pt")
    assert state["steps"] == 4 and all(value.dtype == torch.float16 for value in state["critic"].values())


@pytest.mark.slow
def test_a_phase_that_fails_does_not_stop_the_next(root: Path, tmp_path: Path) -> None:
    words = ("--rehearse", "--minutes", 2, "--data", tmp_path, "--out", tmp_path / "out", "--phases", "kernels")
    done, _ = gpu_run(root, *words)
    assert done.returncode == 1
    assert "data (decode the archive once, for all trainings): failed" in done.stdout
    assert "has no tar of faces" in done.stdout
    assert "instance_norm_residual" in (tmp_path / "out" / "rows.jsonl").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_does_not_end_by_itself_is_ended(root: Path, data: Path, tmp_path: Path) -> None:
    done, seconds = gpu_run(root, "--rehearse", "--minutes", 0.1, "--data", data, "--out", tmp_path)
    assert "ran out of time" in done.stdout or "left out" in done.stdout
    assert seconds < 20


def test_an_unknown_phase_is_refused(root: Path, tmp_path: Path) -> None:
    done, _ = gpu_run(root, "--rehearse", "--phases", "kernel", "--out", tmp_path / "out")
    assert done.returncode == 2 and "no phase is called 'kernel'; there are: data, kernels" in done.stderr


@pytest.fixture
def families(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "tools"))
    import gpu_phases.families

    return gpu_phases.families


def test_a_file_holds_what_matters_most(families: ModuleType) -> None:
    def network(kilobytes: int) -> dict[str, torch.Tensor]:
        return {"weight": torch.zeros(512 * kilobytes, dtype=torch.float16)}

    kept = network(4)
    networks: dict[str, Any] = {"mean": kept, "critic": network(5), "mean_style": network(2), "config": {"dim": 4}}
    snapshots = {1: network(4), 2: network(4), 3: network(4)}

    def content(kilobytes: int) -> tuple[set[str], set[int]]:
        parts = families.fitted(networks, snapshots, kept, kilobytes * 1024)
        return set(parts) - {"kept", "snapshots"}, set(parts["snapshots"])

    assert content(4) == ({"mean"}, set())  # the average is what is kept already
    assert content(6) == ({"mean", "mean_style"}, set())
    assert content(10) == ({"mean", "mean_style"}, {3})  # no room for the critic
    assert content(19) == ({"mean", "mean_style", "critic"}, {3, 2})


@pytest.mark.parametrize(
    ("state", "family"),
    [
        pytest.param({"family": "stgan-sac"}, "stgan-sac", id="a result of this tool"),
        pytest.param({"config": {"conv_dim": 4}}, "stargan", id="a compact checkpoint"),
        pytest.param({"config": {"style_dim": 4, "width": 4}}, "stargan2", id="StarGAN v2"),
        pytest.param({"config": {"dim": 4}, "mean": {"units.0.up.weight": 0}}, "stgan", id="STGAN"),
        pytest.param({"config": {"dim": 4}, "mean": {"units.0.attention.space.bias": 0}}, "stgan-sac", id="STGAN-SAC"),
    ],
)
def test_the_family_of_a_checkpoint(families: ModuleType, state: dict[str, Any], family: str) -> None:
    assert families.family_of(state) == family


def test_a_start_brings_its_sizes(families: ModuleType, tmp_path: Path) -> None:
    config = {"dim": 4, "layers": 3, "no_setting_any_more": 1}
    checkpoint.save(tmp_path / "any-name.pt", {"mean": {}, "critic": {}, "config": config, "steps": 5})
    plan = SimpleNamespace(start=tmp_path, sizes="fitted")
    state, sizes = families.start_of(plan, "stgan")
    assert state["steps"] == 5 and sizes == {"dim": 4, "layers": 3}
    assert families.start_of(plan, "stargan") == (None, families.SIZES["fitted"]["stargan"])


def test_a_checkpoint_of_something_else_is_refused(families: ModuleType) -> None:
    with pytest.raises(DataError, match="take it out"):
        families.family_of({"config": {"preset": "s"}})
