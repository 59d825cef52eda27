"""What is done with a network that ``models add`` took from an ONNX file: check, report, strengths, white-box steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from dadfi_fast import model_card
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.protect.config import SCALES
from dadfi_fast.types import Float32

pytestmark = pytest.mark.usefixtures("tried_here")

Command = Callable[..., Result]
Write = Callable[..., Path]

#: A wave of the picture's values, which any small change moves, shifted by as much as the edit says.
FRAGILE = """
fragile (float[n,3,64,64] x, float[n] amount, float[2] unused) => (float[n,3,64,64] y) {
    axes = Constant<value_ints = [1,2,3]>()
    gain = Constant<value = float[1] {150.0}>()
    pair = ReduceSum<keepdims = 0>(unused)
    planes = Unsqueeze(amount, axes)
    louder = Mul(x, gain)
    shifted = Add(louder, planes)
    total = Add(shifted, pair)
    y = Sin(total)
}"""
EDITS = ("--edit", "bright:amount=0.6,unused=0", "--edit", "dark:amount=-0.6,unused=[0,0]")
FAKE = DeepfakeModel.fake
RANGE = ("--output-range", "-1,1")


@pytest.fixture
def added(command: Command, home: Path, network: Write, tmp_path: Path) -> Callable[..., Result]:
    """Adds the network as ``mine``, with options."""
    file = network(tmp_path / "fragile.onnx", FRAGILE)

    def add(*options: object) -> Result:
        result = command("models", "add", "mine", file, *EDITS, "--force", *options)
        assert result.exit_code == 0, result.stderr
        return result

    return add


@pytest.fixture
def protected(command: Command, examples: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A photo and its protected copy."""
    photo = examples / "portrait.jpg"
    result = command("protect", photo, "--out", tmp_path / "out", "--check", 0, "--verify", "none")
    assert result.exit_code == 0, result.output
    return photo, tmp_path / "out" / photo.name


def checked(command: Command, pair: tuple[Path, Path], *options: object) -> dict[str, Any]:
    photo, copy = pair
    words = ("check", copy, "--original", photo, "--models", "mine", "--visibility", 0, "--json")
    result = command(*words, *options)
    assert result.exit_code == 0, result.output
    verdict: dict[str, Any] = json.loads(result.stdout)["models"]["mine"]
    return verdict


@pytest.mark.slow
def test_it_is_judged_and_reported(
    command: Command, added: Callable[..., Result], protected: tuple[Path, Path], tmp_path: Path
) -> None:
    added("--range", "-1,1", *RANGE)
    verdict = checked(command, protected, "--report", tmp_path / "report.html")
    assert verdict["n_edits"] == 2 and verdict["sr_mask"] == 1
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "mine: a network added by the user" in page and "bright" in page and "dark" in page


@pytest.mark.slow
def test_a_wrong_range_changes_the_verdict(
    command: Command, added: Callable[..., Result], protected: tuple[Path, Path]
) -> None:
    added("--range", "-1,1", *RANGE)
    right = checked(command, protected)
    added("--range", "-0.01,0.01", *RANGE)
    wrong = checked(command, protected)
    assert (right["sr_mask"], wrong["sr_mask"]) == (1, 0)
    assert right["d_mask_p50"] > 10 * wrong["d_mask_p50"]


@pytest.mark.slow
def test_strengths_are_chosen_by_it(
    command: Command, added: Callable[..., Result], examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added("--range", "-1,1", *RANGE)
    names: list[str] = []

    def fake(self: DeepfakeModel, images: Float32, edit: Float32) -> Float32:
        names.append(self.name)
        return FAKE(self, images, edit)

    monkeypatch.setattr(DeepfakeModel, "fake", fake)
    words = ("--out", tmp_path / "auto", "--strength", "auto", "--check", 0, "--verify", "none")
    result = command("protect", examples / "portrait.jpg", *words)
    assert result.exit_code == 0, result.output
    row = json.loads((tmp_path / "auto" / "dadfi-manifest.jsonl").read_text().splitlines()[-1])
    assert row["status"] == "written" and row["strength"] in SCALES
    assert "mine" in names


@pytest.mark.slow
@pytest.mark.extras("own-models")
def test_white_box_steps_go_through_it(
    command: Command, added: Callable[..., Result], examples: Path, tmp_path: Path
) -> None:
    added("--range", "-1,1", *RANGE)
    words = ("--out", tmp_path / "refined", "--refine", 2, "--refine-models", "mine", "--check", 0, "--device", "cpu")
    result = command("protect", examples / "portrait.jpg", *words)
    assert result.exit_code == 0, result.output
    assert "refined in 2 white-box steps against mine" in " ".join(result.stderr.split())


@pytest.mark.slow
def test_white_box_steps_against_one_that_is_judged_only_are_refused(
    command: Command, added: Callable[..., Result], examples: Path, home: Path, tmp_path: Path
) -> None:
    added("--range", "-1,1", *RANGE, "--edit", "other:amount=0.1,unused=0")  # no model that a test before has loaded
    card = model_card.read_card(home / "mine" / "mine.md")
    model_card.amend_card(card, {"differentiable": False, "why_not": "no gradient arrives at the picture"})
    words = ("--out", tmp_path / "refined", "--refine", 2, "--refine-models", "mine", "--device", "cpu")
    result = command("protect", examples / "portrait.jpg", *words)
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "mine can be judged only" in said and "no gradient arrives at the picture" in said
    assert not list(tmp_path.glob("refined/*.jpg"))
