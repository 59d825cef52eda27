from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from dadfi_fast import card
from dadfi_fast.backends.choice import BACKENDS
from dadfi_fast.cli import doctor
from dadfi_fast.faces.detector import DETECTORS

Command = Callable[..., Result]


@pytest.fixture
def weights(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models that the doctor looks at."""
    monkeypatch.setattr(doctor, "cards", lambda: card.cards(toy_weights))
    return toy_weights


@pytest.mark.usefixtures("weights")
def test_it_looks_at_everything(command: Command) -> None:
    done = command("doctor", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0 and not done.stderr
    assert set(found) == {"version", "python", "machine", "findings"}
    names = {kind: {f["name"] for f in found["findings"] if f["kind"] == kind} for kind in ("backend", "detector")}
    assert names == {"backend": set(BACKENDS), "detector": set(DETECTORS)}


@pytest.mark.usefixtures("weights")
def test_what_is_missing_is_told_with_its_remedy(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKENDS["onnxruntime"](), "missing", lambda: "run: pip install onnxruntime")
    done = command("doctor")
    assert done.exit_code == 0
    (line,) = [line for line in done.stdout.splitlines() if "onnxruntime" in line]
    assert line.split()[:3] == ["backend", "onnxruntime", "no"]
    assert "run: pip install onnxruntime" in line


@pytest.mark.usefixtures("weights")
def test_without_a_backend_nothing_can_be_protected(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BACKENDS:
        monkeypatch.setattr(BACKENDS[name](), "missing", lambda: "not here")
    done = command("doctor")
    assert done.exit_code == 1
    assert "there is no backend that works" in done.stderr


def test_without_models_nothing_can_be_protected(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "cards", lambda: card.cards(tmp_path))
    done = command("doctor")
    assert done.exit_code == 1
    assert "there is no model that works" in done.stderr


def test_damaged_weights_are_noticed(command: Command, weights: Path) -> None:
    file = weights / "seer.onnx"
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:-1])
        done = command("doctor")
    finally:
        file.write_bytes(whole)
    assert done.exit_code == 1
    assert "damaged: seer" in done.stderr
