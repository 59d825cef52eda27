"""``dadfi-fast bench profile``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from dadfi_fast.bench import profile
from dadfi_fast.bench.photos import Photos
from dadfi_fast.bench.rows import Row, summarise
from dadfi_fast.bench.setup import BenchSetup

Command = Callable[..., Result]


def test_profile(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[float] = []

    def rows(photos: Photos, bench_setup: BenchSetup, *, repeats: int, tick: Callable[[], Any]) -> list[Row]:
        sizes.append(photos.megapixels)
        spent = {"profile decode: pixels": 3.0, "profile verify: measure": 9.0, "protect": 8.0}
        spent |= {"protect without verification": 7.5, "copy": 5.0, "pillow": 6.0}
        return [
            summarise(name, "p", [value] * repeats, unit="core-ms/photo", driver="", config={})
            for name, value in spent.items()
        ]

    monkeypatch.setattr(profile, "profile", rows)
    result = command(
        "bench", "profile", "--count", 2, "--megapixels", 0.05, "--repeats", 3, "--json", tmp_path / "rows.jsonl"
    )
    assert result.exit_code == 0, result.output
    assert sizes == [pytest.approx(0.05, rel=0.02)]
    lines = result.stdout.splitlines()
    assert lines[1].split()[-1] == "38%" and lines[-1].split() == ["rest", "core-ms/photo", "-", "4.5", "-", "-", "56%"]
    assert [json.loads(line)["n"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == [3] * 6
