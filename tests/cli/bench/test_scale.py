"""``dadfi-fast bench scale``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from dadfi_fast.bench import scale
from dadfi_fast.bench.scale import MemorySample, Wrong
from dadfi_fast.bench.synthetic import SyntheticPhotos

Command = Callable[..., Result]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> list[Wrong]:
    """What is found wrong; the run is not made."""
    errors: list[Wrong] = []

    def watch(command: Sequence[str], out: Path, *, tick: Callable[[int], object]) -> list[MemorySample]:
        (Path(out)).mkdir()
        (out / "dadfi-manifest.jsonl").write_text('{"backend": "openvino-cpu f32: because"}\n')
        tick(30)
        return [MemorySample(2.0, 0, 50.0), *(MemorySample(2.0 + n, 10 * n, 100.0) for n in range(1, 4))]

    monkeypatch.setattr(scale, "watch", watch)
    monkeypatch.setattr(scale, "wrong", lambda photos, out: errors)
    return errors


def test_a_row_and_a_plot(command: Command, tmp_path: Path, faults: list[Wrong]) -> None:
    pytest.importorskip("matplotlib", reason="plots want the extra evaluate")
    row, plot = tmp_path / "rows.jsonl", tmp_path / "plot.png"
    result = command("bench", "scale", "--count", 30, "--size", 32, "--damaged", "10%", "--json", row, "--plot", plot)
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(row.read_text())
    assert (record["case"], record["provider"], record["p50"]) == ("scale", "openvino-cpu f32", 10.0)
    facts = record["config"]
    assert (facts["photos"], facts["damaged"], facts["start_up_seconds"], facts["wrong_rows"]) == (30, 3, 3.0, 0)
    assert [sample["rows"] for sample in facts["samples"]] == [0, 10, 20, 30]
    assert "start_up_seconds" in result.stdout and "samples" not in result.stdout
    with Image.open(plot) as drawn:
        assert drawn.size[0] > 600


def test_a_wrong_row_is_an_error(command: Command, faults: list[Wrong]) -> None:
    faults.append(Wrong("0000/0000007.jpg", "no row"))
    result = command("bench", "scale", "--count", 30, "--size", 32, "--quiet")
    assert result.exit_code == 1 and "1 rows or files are wrong: 0000/0000007.jpg: no row" in result.stderr


def test_what_protect_is_called_with(tmp_path: Path) -> None:
    words = scale.protect_command(SyntheticPhotos(tmp_path / "in", 1, 0, 32, 0), tmp_path / "out", "--workers", "1")
    assert words[1:4] == ["-m", "dadfi_fast.cli", "protect"] and words[-2:] == ["--workers", "1"]
