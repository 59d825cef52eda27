"""docs/cost.md is made from the rows and the model, and the model from the rows."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.bench import growth


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    """What ``tools/make_cost_page.py`` has."""
    return runpy.run_path(str(Path(__file__).resolve().parents[2] / "tools" / "make_cost_page.py"))


def test_the_page_is_up_to_date(tool: dict[str, Any], root: Path) -> None:
    written = (root / "docs" / "cost.md").read_text(encoding="utf-8")
    assert written == tool["page"](), "run: python tools/make_cost_page.py"
    for picture in ("cost-growth", "cost-cluster", "scale-memory"):
        assert f"images/{picture}.png" in written and (root / "docs" / "images" / f"{picture}.png").is_file()


def test_what_the_model_calls_measured_is_what_the_rows_say(tool: dict[str, Any]) -> None:
    rows, inputs = tool["rows"]("cost-cpu"), tool["INPUTS"]
    megapixels, faces = growth.fit(rows, "megapixels"), growth.fit(rows, "faces")
    for name, value in (
        ("cpu_ms", megapixels.base),
        ("cpu_ms_megapixel", megapixels.slope),
        ("cpu_ms_face", faces.slope),
    ):
        assert inputs[name].origin == "measured" and inputs[name].value == pytest.approx(value, rel=0.02)


def test_the_rows_name_the_machine_and_their_number(tool: dict[str, Any]) -> None:
    for row in (*tool["rows"]("cost-cpu"), *tool["rows"]("scale-cpu")):
        assert row["machine"]["cores"] == 2 and row["n"] >= 3 and row["commit"]
    assert tool["rows"]("scale-cpu")[-1]["config"]["wrong_rows"] == 0
