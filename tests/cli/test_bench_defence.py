"""``bench defence``, on the example photos and a model that ships."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Command = Callable[..., Result]


@pytest.mark.slow
def test_a_table_goes_to_stdout_and_rows_are_appended(command: Command, tmp_path: Path) -> None:
    call = ("bench", "defence", "--count", 1, "--models", "stargan-64", "--also", "jpeg:30", "--backend", "openvino")
    result = command(*call, "--json", tmp_path / "rows.jsonl")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["case"], row["unit"]) for row in rows[:4]] == [
        ("stargan-64 written", "d_mask"),
        ("stargan-64 jpeg:30", "d_mask"),
        ("seen written", "PSNR (dB)"),
        ("seen written", "Linf"),
    ]
    assert rows[0]["p50"] > 10 * rows[4]["p50"], "protection does more than noise"
    assert rows[4]["provider"] == "noise"
    assert {"machine", "commit", "driver"} <= set(rows[0])
    assert f"{rows[0]['config']['sr_mask']:.1%} visibly broken" in result.stdout
    assert "generator on openvino-cpu" in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["--models", "nobody"], "nobody", id="an unknown model"),
        pytest.param(["--also", "jpeg:0"], "jpeg quality must be", id="no such quality"),
        pytest.param(["--strength", "0.5"], "0.01", id="far too strong"),
    ],
)
def test_bad_words_are_refused(command: Command, words: list[str], says: str) -> None:
    result = command("bench", "defence", "--count", 1, *words)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
