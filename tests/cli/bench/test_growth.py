"""``dadfi-fast bench growth``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from dadfi_fast.bench import growth
from dadfi_fast.bench.rows import Row, summarise

Command = Callable[..., Result]


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
