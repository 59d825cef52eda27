"""Robustness, on models whose fakes are known by hand (see `toy_weights`) and a generator that is (see `stripes`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from dadfi_fast.evaluate import robustness
from dadfi_fast.evaluate.experiment import NAMED, Result

CONDITIONS = ("written", "jpeg:95", "jpeg:90", "jpeg:75", "jpeg:50", "resize:0.5", "blur:3")


@pytest.fixture
def result(make_setup: Callable[..., Any], stripes: Path, once: Callable[..., Result]) -> Result:
    setup = make_setup(generators=(str(stripes), f"again={stripes}"))
    return once(lambda: robustness.run(setup))


def by_row(result: Result) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(row["method"], row["model"], row["condition"]): dict(row) for row in result.rows}


def test_every_method_model_and_condition_has_its_row(result: Result) -> None:
    methods = ("stripes", "again", "null", "noise")
    assert list(by_row(result)) == [(m, x, c) for m in methods for x in ("fragile", "sturdy") for c in CONDITIONS]
    for row in result.rows:
        assert set(NAMED) | set(result.columns) <= set(row)
        assert list(row["models"]) == [row["model"]]


def test_what_the_conditions_do(result: Result) -> None:
    rows = by_row(result)
    broken = {condition: rows["stripes", "fragile", condition] for condition in CONDITIONS}
    assert broken["written"]["d_mask"] > broken["blur:3"]["d_mask"] > broken["resize:0.5"]["d_mask"]
    assert len({broken[condition]["d_mask"] for condition in CONDITIONS}) == len(CONDITIONS)
    assert broken["written"]["sr_mask"] > 0.5
    assert {key: rows["again", "fragile", "written"][key] for key in ("sr_mask", "d_mask")} == {
        key: broken["written"][key] for key in ("sr_mask", "d_mask")
    }


def test_the_controls_go_through_the_same(result: Result) -> None:
    rows = by_row(result)
    assert all(rows["null", model, "written"]["d_mask"] == 0 for model in ("fragile", "sturdy"))
    blurred, plain = (rows["noise", "fragile", condition]["d_mask"] for condition in ("blur:3", "written"))
    assert 0 < blurred < plain
    assert all(rows["noise", "sturdy", condition]["sr_mask"] == 0 for condition in CONDITIONS)


def test_sr_all_is_that_of_all_models(result: Result) -> None:
    """The sturdy model is never broken, so no picture is protected against all of them."""
    assert all(row["sr_all"] == 0 for row in result.rows)
    assert all(row["sr_mask"] == 0 for row in result.rows if row["model"] == "sturdy")


def test_the_figure(result: Result) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    result.draw(figure)
    titles = [axis.get_title() for axis in figure.axes]
    methods = ("stripes", "again", "noise")
    assert titles == [f"{method}\n{name}" for name in ("SR_mask", "d_mask") for method in methods]
    names = [[text.get_text() for text in axis.get_xticklabels()] for axis in figure.axes]
    assert names == [["fragile", "sturdy", "SR_all"]] * 3 + [["fragile", "sturdy"]] * 3
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (len(CONDITIONS), 3) and (shown[:, 1:] == 0).all()
    assert shown[:, 0].tolist() == [row["sr_mask"] for row in result.rows[: len(CONDITIONS)]]


def test_the_answer_in_words(result: Result) -> None:
    written, half = (by_row(result)["stripes", "fragile", name]["sr_mask"] for name in ("written", "resize:0.5"))
    assert f"- stripes, fragile (SR_mask): written {written:.3f}, jpeg:95 " in result.answer
    assert f"resize:0.5 {half:.3f}" in result.answer and "- again, sturdy (SR_mask): written 0.000" in result.answer
