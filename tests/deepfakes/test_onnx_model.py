"""Deepfake models from ONNX files, with every runtime."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from dadfi_fast.deepfakes import session
from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
from dadfi_fast.deepfakes.registry import deepfake_cards, load_attributes, load_models
from dadfi_fast.device import bf16_runs_well
from dadfi_fast.errors import BackendMissing, UsageError, WeightsError
from dadfi_fast.model_card import find_card

EDIT = np.array([[0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], np.float32)


@pytest.fixture(params=["openvino", "onnxruntime"])
def only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One runtime, as if no other were installed."""
    pytest.importorskip(request.param)
    monkeypatch.setattr(session, "_SESSIONS", tuple(r for r in session._SESSIONS if r.name == request.param))
    return str(request.param)


def flat(value: float, n: int = 2) -> np.ndarray:
    return np.full((n, 3, 32, 32), value, np.float32)


def model(folder: Path, name: str) -> DeepfakeModel:
    return DeepfakeModel(find_card(name, folder=folder), threads=1)


def test_fake_is_what_the_model_makes_of_picture_and_labels(toy_weights: Path, only: str) -> None:
    fake = model(toy_weights, "sturdy").fake(flat(-0.25), EDIT)
    assert fake.dtype == np.float32
    assert np.allclose(fake[0], 0.25)  # a label is set: 0.5 more
    assert np.allclose(fake[1], -0.25)  # none is


def test_fake_is_clamped(toy_weights: Path, only: str) -> None:
    assert model(toy_weights, "sturdy").fake(flat(0.75), EDIT).max() == 1.0


def test_bfloat16_hardly_changes_d_mask(only: str) -> None:
    """What ``--strength auto`` chooses by, where the CPU has it; the threshold is 0.05."""
    pictures = np.random.default_rng(0).uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32)
    exact, rough = (DeepfakeModel(find_card("stargan-128"), threads=1, half=half) for half in (False, True))
    edit = exact.edits(np.zeros((1, 5), np.float32))[0]
    fake, other = exact.fake(pictures, edit), rough.fake(pictures, edit)
    same = np.array_equal(fake, other)
    assert same == (only == "onnxruntime" or not bf16_runs_well())
    assert np.square(fake - other).mean() < 0.001


@pytest.mark.parametrize("n", [1, 3, 16])
def test_any_number_of_pictures(toy_weights: Path, only: str, n: int) -> None:
    loaded = model(toy_weights, "fragile")
    pictures = np.random.default_rng(0).uniform(-0.1, 0.1, (n, 3, 32, 32)).astype(np.float32)
    edit = np.repeat(EDIT[:1], n, axis=0)
    together = loaded.fake(pictures, edit)
    alone = [loaded.fake(pictures[i : i + 1], edit[:1])[0] for i in range(n)]
    assert np.allclose(together, alone, atol=1e-5)


def test_what_comes_back_is_not_written_again(toy_weights: Path, only: str) -> None:
    loaded = model(toy_weights, "sturdy")
    first = loaded.fake(flat(-0.25), EDIT)
    loaded.fake(flat(0.0), EDIT)
    assert np.allclose(first[1], -0.25)


def test_views_are_taken_as_they_come(toy_weights: Path, only: str) -> None:
    mirrored = flat(-0.25)[:, :, :, ::-1]  # negative strides
    assert np.allclose(model(toy_weights, "sturdy").fake(mirrored, EDIT)[1], -0.25)


def test_classifier_gives_the_wanted_attributes_in_the_wanted_order(toy_weights: Path, only: str) -> None:
    seer = AttributeModel(find_card("seer", folder=toy_weights), threads=1)
    pictures = np.concatenate([flat(-0.5, 1), flat(0.5, 1)])
    assert seer.labels(pictures, ["Young", "Male", "Blond_Hair"]).tolist() == [[1, 0, 0], [1, 0, 1]]


def test_classifier_refuses_an_attribute_that_it_does_not_know(toy_weights: Path) -> None:
    with pytest.raises(WeightsError, match="does not know Bald"):
        load_attributes(folder=toy_weights).labels(flat(0), ["Male", "Bald"])


def test_without_a_runtime_the_message_says_what_to_install(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match="pip install openvino"):
        model(toy_weights, "sturdy")


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match=r"cannot load .*broken\.onnx"):
        session.load(tmp_path / "broken.onnx")


def test_registry_lists_deepfake_models_only(toy_weights: Path) -> None:
    assert list(deepfake_cards(toy_weights)) == ["fragile", "sturdy"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ["fragile", "sturdy"]),  # none named: all
        (["sturdy"], ["sturdy"]),
        (["sturdy", "fragile", "sturdy"], ["sturdy", "fragile"]),  # twice is once
    ],
)
def test_models_by_name(toy_weights: Path, names: list[str], expected: list[str]) -> None:
    assert [loaded.name for loaded in load_models(names, folder=toy_weights)] == expected


def test_an_unknown_model_is_told_with_the_nearest(toy_weights: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'sturdy'"):
        load_models(["sturdi"], folder=toy_weights)


def test_a_folder_without_models_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no deepfake model"):
        load_models(folder=tmp_path)
    with pytest.raises(WeightsError, match="no attribute classifier"):
        load_attributes(folder=tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "m.onnx").write_bytes(b"other"), "does not match its card"),
        (lambda folder: (folder / "m.onnx").unlink(), "is missing"),
        (lambda folder: _edit(folder / "m.md", "labels", "tags"), "does not list the model's attributes"),
    ],
    ids=["changed", "missing", "no labels"],
)
def test_damage_is_found_when_loading(toy_weights: Path, tmp_path: Path, damage: object, message: str) -> None:
    (tmp_path / "m.onnx").write_bytes((toy_weights / "sturdy.onnx").read_bytes())
    card = (toy_weights / "sturdy.md").read_text(encoding="utf-8").replace("sturdy", "m")
    (tmp_path / "m.md").write_text(card, encoding="utf-8")
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=message):
        load_models(["m"], folder=tmp_path)


def _edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
