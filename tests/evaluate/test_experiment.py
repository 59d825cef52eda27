from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.errors import DiskError, UsageError
from dadfi_fast.evaluate.bar_chart import Panel, bars
from dadfi_fast.evaluate.experiment import EXPERIMENTS, NAMED, Result, Setup, markdown, write

NAN = float("nan")


def result(**changes: Any) -> Result:
    facts = {"data": [{"archive": "a.tar", "sha256": "12"}], "split": "test", "n": 7, "generator": None}
    facts |= Setup((Path("a.tar"),), seed=3, command="dadfi-fast evaluate x").facts()
    rows = [
        {"model": "m1", "edit": "a|b", "share": 0.123456, "fid": NAN, "models": {"m1": "aa"}, **facts},
        {"model": "m2", "edit": "c", "share": 1.0, "fid": 12.5, "models": {"m2": "bb"}, **facts},
    ]

    def draw(figure: Any) -> None:
        panels = [Panel("share", [0.1, 1.0], [0.0, NAN], limit=1), Panel("FID", [NAN, 12.5])]
        bars(figure, panels, labels=["a", "c"], groups=["m1", "m2"], control="control")

    columns = {"model": "model", "edit": "edit", "share": "share of it", "fid": "FID", "n": "n"}
    fields = {"name": "trial", "rows": rows, "columns": columns, "text": "What it is.", "draw": draw}
    return Result(**(fields | changes))


def test_all_files_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pixels = np.full((4, 6, 3), 9, np.uint8)
    experiment = result(sheets={"m1": pixels}, arrays={"mark": np.ones((3, 2, 2), np.float32)})
    paths = write(experiment, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["trial.json", "trial.md", "trial.png", "trial-m1.png", "trial-mark.npy"]
    assert np.array_equal(np.load(paths[4], allow_pickle=False), experiment.arrays["mark"])
    assert {path.parent for path in paths} == {tmp_path / "new" / "folder"}
    assert np.array_equal(np.asarray(Image.open(paths[3])), pixels)
    with Image.open(paths[2]) as figure:
        assert figure.format == "PNG" and figure.width > 300
        assert len(set(figure.convert("RGB").tobytes())) > 10  # something is drawn


def test_every_row_of_the_json_stands_for_itself(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    document = json.loads(write(result(), tmp_path)[0].read_text(encoding="utf-8"))
    assert document["experiment"] == "trial" and len(document["rows"]) == 2
    for row in document["rows"]:
        assert set(NAMED) <= set(row)
        assert row["generator"] is None and row["seed"] == 3 and row["machine"]["processor"]
    assert document["rows"][0]["fid"] is None  # NaN is no JSON
    assert document["rows"][1]["fid"] == 12.5


def test_markdown_has_the_table_and_each_fact_once() -> None:
    text = markdown(result(sheets={"m1": np.zeros((1, 1, 3), np.uint8)}))
    assert "| model | edit | share of it | FID | n |\n| --- | --- | --- | --- | --- |\n" in text
    assert "| m1 | a/b | 0.1235 | - | 7 |\n| m2 | c | 1 | 12.5 | 7 |\n" in text
    assert "- models: m1 aa; m2 bb\n" in text  # both, where rows differ
    assert text.count("a.tar") == 1 and "- data: archive a.tar, sha256 12\n" in text
    assert "- generator: none\n" in text
    assert "![trial](trial.png)" in text and "![trial-m1](trial-m1.png)" in text


def test_a_row_that_does_not_say_what_it_was_measured_on_is_our_bug(tmp_path: Path) -> None:
    rows = [{key: value for key, value in result().rows[0].items() if key != "split"}]
    with pytest.raises(AssertionError, match="trial"):
        write(result(rows=rows), tmp_path)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match="--out"):
        write(result(), tmp_path / "file" / "out")


def test_an_unknown_experiment_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'plausibility'"):
        EXPERIMENTS["plausibility2"]


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_is_there(name: str) -> None:
    pytest.importorskip("torch")
    assert callable(EXPERIMENTS[name]())
