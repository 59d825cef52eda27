"""Validity, on models whose fakes are known by hand (see `toy_weights`) and a generator that is (see `stripes`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from dadfi_fast.evaluate import validity
from dadfi_fast.evaluate.experiment import NAMED, Progress, Result
from dadfi_fast.types import Float32, UInt8

MakeSetup = Callable[..., Any]


class Network:
    """The mean level and a constant as features."""

    def __call__(self, pixels: UInt8) -> Float32:
        return np.stack([pixels.mean((1, 2, 3)), np.ones(len(pixels))], axis=1).astype(np.float32)


@pytest.fixture
def result(make_setup: MakeSetup, monkeypatch: pytest.MonkeyPatch, once: Callable[..., Result]) -> Result:
    monkeypatch.setattr(validity, "Inception", Network)
    return once(lambda: validity.run(make_setup(fid=8)))


def by_row(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["method"], row["model"]): dict(row) for row in result.rows}


def test_protection_and_its_controls(result: Result) -> None:
    rows = by_row(result)
    assert list(rows) == [(name, model) for name in ("stripes", "null", "noise") for model in ("fragile", "sturdy")]
    broken = rows["stripes", "fragile"]
    assert broken["sr_mask"] == broken["sr"] == pytest.approx(1, abs=0.4) and broken["d_mask"] > 0.05
    assert rows["stripes", "sturdy"]["sr_mask"] == 0
    assert rows["stripes", "sturdy"]["d_pix"] == pytest.approx((6 / 127.5) ** 2, rel=0.3)
    for model in ("fragile", "sturdy"):
        null = rows["null", model]
        assert null["d_pix"] == null["sr"] == null["fid"] == 0
        assert null["d_original"] == null["d_original_null"] > 0
    assert 0 < rows["noise", "sturdy"]["d_pix"] < rows["stripes", "sturdy"]["d_pix"]


def test_the_distance_of_the_paper_has_its_null(result: Result) -> None:
    """The sturdy model adds 0.5 wherever an attribute is asked for, whether the picture is protected or not."""
    row = by_row(result)["stripes", "sturdy"]
    assert row["d_original_null"] == pytest.approx(by_row(result)["null", "sturdy"]["d_original_null"])
    assert row["d_original"] == pytest.approx(row["d_original_null"] + row["d_pix"], rel=0.05)


def test_rows_say_what_they_were_measured_with(result: Result) -> None:
    for row in result.rows:
        assert set(NAMED) | set(result.columns) <= set(row)
        assert list(row["models"]) == [row["model"]] and (row["generator"] is None) == (row["method"] != "stripes")
        assert (row["n"], row["fid_n"], row["n_edits"]) == (3, 8, 5)  # of 15 fakes in all


def test_no_frechet_distance_is_asked_for(make_setup: MakeSetup) -> None:
    rows = validity.run(make_setup(models=("sturdy",))).rows
    assert all(np.isnan(row["fid"]) and row["fid_n"] is None for row in rows)


@pytest.mark.parametrize("fid", [0, 8])
def test_the_figure(make_setup: MakeSetup, monkeypatch: pytest.MonkeyPatch, fid: int) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    monkeypatch.setattr(validity, "Inception", Network)
    validity.run(make_setup(fid=fid)).draw(figure)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["SR_mask", "d_pix", *(["FID (n = 8)"] if fid else []), "x to y'"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["fragile", "sturdy"]


def test_what_the_paper_reports_stands_beside_ours(result: Result) -> None:
    rows = by_row(result)
    assert "paper" in result.columns and "SR_mask 1.00, FID 131.5" in rows["stripes", "fragile"]["paper"]
    assert rows["noise", "fragile"]["paper"] is None


def test_the_answer_in_words(result: Result) -> None:
    share = by_row(result)["stripes", "fragile"]["sr_mask"]
    assert f"**stripes** breaks (SR_mask): fragile {share:.3f}, sturdy 0.000" in result.answer
    assert f"noise of the same strength at most {by_row(result)['noise', 'fragile']['sr_mask']:.3f}" in result.answer
    assert "above the paper's 0.06 on 1 of 2 models: fragile" in result.answer


def test_the_same_again_is_taken_from_what_is_finished(make_setup: MakeSetup, tmp_path: Path, stripes: Path) -> None:
    ticks: list[int] = []
    setup = make_setup(out=tmp_path, progress=Progress(tick=ticks.append))
    first = validity.run(setup)
    assert sum(ticks) == 2 * 2 * 3  # two pieces, each protects and checks three pictures
    again = validity.run(replace(setup, command="the same in other words"))
    assert sum(ticks) == 2 * 2 * 3
    assert json.dumps(again.rows) == json.dumps(first.rows)
    more = validity.run(replace(setup, generators=(*setup.generators, f"again={stripes}")))
    assert sum(ticks) == 3 * 2 * 3 and len(more.rows) == len(first.rows) + 2
