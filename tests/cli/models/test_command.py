"""The commands ``models list`` and ``models verify``."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dadfi_fast import model_card
from dadfi_fast.cli.main import main
from dadfi_fast.cli.models import command as models


@pytest.fixture
def weights(toy_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what ships that may be damaged; the user has added nothing."""
    copy = tmp_path / "weights"
    shutil.copytree(toy_weights, copy)
    monkeypatch.setattr(model_card, "WEIGHTS", copy)
    monkeypatch.setenv(model_card.MODELS_VARIABLE, str(tmp_path / "models"))
    return copy


@pytest.fixture
def added(weights: Path, tmp_path: Path) -> Path:
    """The folder of a model called ``mine`` that the user has added, beside one that is just being added."""
    folder = tmp_path / "models" / "mine"
    shutil.copytree(weights, folder)
    text = (
        (weights / "sturdy.md").read_text().replace("'sturdy'", "'mine'").replace("+++\n", "+++\nsource = 'added'\n", 1)
    )
    for old in folder.glob("*.md"):
        old.unlink()
    (folder / "mine.md").write_text(text)
    shutil.copytree(folder, tmp_path / "models" / ".mine.123")
    return folder


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["models", *words])


def test_list_as_json(weights: Path) -> None:
    rows = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in rows] == ["fragile", "seer", "sturdy"]
    assert rows[0] == {
        "name": "fragile",
        "family": "stargan",
        "source": "bundled",
        "kind": "deepfake model",
        "measure": "d_mask",
        "image_size": 32,
        "parameters": 7,
        "sha256": hashlib.sha256((weights / "fragile.onnx").read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
        "card": str(weights / "fragile.md"),
        "edit_accuracy": None,
        "edit_accuracies": None,
    }


def test_list_has_the_accuracy_of_edits(weights: Path) -> None:
    card = weights / "sturdy.md"
    fact = "edit_accuracy = { Male = 0.5, Young = nan, Black_Hair = 0.9 }\n+++"  # nan: no picture was asked for it
    card.write_text(fact.join(card.read_text().rsplit("+++", 1)))
    row = json.loads(run("list", "--json").stdout)[-1]
    assert row["edit_accuracy"] == pytest.approx(0.7)
    assert row["edit_accuracies"] == {"Male": 0.5, "Young": None, "Black_Hair": 0.9}
    assert run("list").stdout.splitlines()[-1].endswith(" 0.7")


def test_list_as_a_table(weights: Path) -> None:
    head, *rows = run("list").stdout.splitlines()
    assert head.split()[:3] == ["name", "family", "source"]
    assert [row.split()[0] for row in rows] == ["fragile", "seer", "sturdy"]


def test_verify_passes_what_is_whole(weights: Path) -> None:
    result = run("verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["fragile: ok", "seer: ok", "sturdy: ok"]


def test_verify_names_every_file_that_differs(weights: Path) -> None:
    (weights / "fragile.onnx").write_bytes(b"other")
    (weights / "sturdy.onnx").unlink()
    result = run("verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["seer: ok"]
    assert "fragile.onnx does not match its card" in result.stderr
    assert "sturdy.onnx is missing" in result.stderr
    assert "2 of 3 models do not match their cards: fragile, sturdy" in result.stderr


def test_verify_takes_names(weights: Path) -> None:
    (weights / "fragile.onnx").write_bytes(b"other")
    assert run("verify", "seer").exit_code == 0
    assert run("verify", "seer", "fragile").exit_code == 1
    assert run("verify", "seher").exit_code == 2


def test_added_models_are_listed_behind_what_ships(added: Path) -> None:
    rows = json.loads(run("list", "--json").stdout)
    assert [(row["name"], row["source"]) for row in rows][2:] == [("sturdy", "bundled"), ("mine", "added")]
    assert rows[-1]["card"] == str(added / "mine.md")


def test_added_models_are_verified(added: Path) -> None:
    assert run("verify", "mine").stdout == "mine: ok\n"
    (added / "sturdy.onnx").write_bytes(b"other")
    result = run("verify")
    assert result.exit_code == 1 and result.stdout.splitlines() == ["fragile: ok", "seer: ok", "sturdy: ok"]
    assert "Add it again (models add --force)" in result.stderr


def test_without_models_there_is_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_card, "WEIGHTS", tmp_path)
    monkeypatch.setenv(model_card.MODELS_VARIABLE, str(tmp_path / "models"))
    for word in ("list", "verify"):
        assert run(word).exit_code == 3


def test_the_models_that_ship_are_what_their_cards_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(model_card.MODELS_VARIABLE, str(tmp_path))
    assert run("verify").exit_code == 0


@pytest.mark.parametrize("name", models.ELSEWHERE)
def test_commands_in_files_of_their_own_are_listed_if_the_file_is_there(name: str) -> None:
    there = (Path(models.__file__).parent / f"{name}.py").is_file()
    assert (f"\n  {name} " in run("--help").stdout) == there
    assert run(name, "--help").exit_code == (0 if there else 2)
