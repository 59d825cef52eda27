"""``dadfi-fast bench cluster`` and ``bench growth``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from dadfi_fast.bench import growth
from dadfi_fast.bench.rows import Row, summarise

Command = Callable[..., Result]


def test_inputs_and_estimates(command: Command) -> None:
    result = command("bench", "cluster")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["input", "value", "unit", "origin"]
    assert sum(line.startswith(("gpu  ", "cpu  ")) for line in lines) == 22
    assert "GPUs wait for what they share" in lines[-2]


def test_json_and_other_assumptions(command: Command) -> None:
    usual, cheaper = (
        json.loads(command("bench", "cluster", "--json", *more).stdout)
        for more in ((), ("--assume", "gpu-price=1.5", "--assume", "rows=1000"))
    )
    price = next(each for each in cheaper["inputs"] if each["name"] == "gpu_price")
    assert (price["value"], price["origin"]) == (1.5, "given")
    assert cheaper["estimates"][0]["cost"] < usual["estimates"][0]["cost"]
    assert cheaper["estimates"][10]["limit"] == "manifest" and cheaper["most"]["gpu"] < usual["most"]["gpu"]


def test_inputs_alone(command: Command) -> None:
    assert "$/million\n" not in command("bench", "cluster", "--inputs").stdout


@pytest.mark.parametrize(
    ("value", "message"), [("gpus", "NAME=NUMBER"), ("gpus=many", "NAME=NUMBER"), ("gpu=3", "did you mean 'gpus'")]
)
def test_wrong_assumptions(command: Command, value: str, message: str) -> None:
    result = command("bench", "cluster", "--assume", value)
    assert result.exit_code == 2 and message in result.stderr


def test_the_plot(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots want the extra evaluate")
    assert command("bench", "cluster", "--plot", tmp_path / "c.png").exit_code == 0
    with Image.open(tmp_path / "c.png") as drawn:
        assert drawn.size[0] > 900


def test_growth(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(source: Path, scratch: Path, *, repeats: int, tick: Callable[[], Any]) -> Iterator[Row]:
        for photos in (10, 20):
            tick()
            spent = [100.0 + 5 * photos] * repeats
            yield summarise("cost by photos", "p", spent, unit="core-ms", driver="", config={"photos": photos})

    monkeypatch.setattr(growth, "by_photos", rows)
    result = command("bench", "growth", "--over", "photos", "--repeats", 3, "--json", tmp_path / "rows.jsonl")
    assert result.exit_code == 0, result.output
    assert "about 100 + 5 x photos core-ms" in result.stdout
    assert [json.loads(line)["n"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == [3, 3]
