"""Generators by models, with models whose fakes are known by hand (see `toy_weights`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from dadfi_fast.card import read_card
from dadfi_fast.errors import UsageError
from dadfi_fast.evaluate import no_fine_tuning, single_model
from dadfi_fast.evaluate.experiment import NAMED, Result

Asked = Callable[..., Any]


@pytest.fixture
def trained(carded: Callable[..., Path], toy_weights: Path) -> tuple[str, ...]:
    """Three generators: against ``fragile``; against another file of its name and ``sturdy``; nobody knows."""
    fragile, sturdy = (read_card(toy_weights / f"{name}.md").sha256 for name in ("fragile", "sturdy"))
    one = carded("one", targets=[{"name": "fragile", "sha256": fragile}], settings={"lambda_y": 0})
    targets = [{"name": "fragile", "sha256": "0" * 64}, {"name": "sturdy", "sha256": sturdy}]
    two = carded("two", targets=targets, settings={"lambda_y": 0.05})
    return str(one), str(two), str(carded("three"))


@pytest.fixture
def found(asked: Asked, trained: tuple[str, ...]) -> Result:
    return single_model.run(asked(generators=trained))


def by_row(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["method"], row["model"]): dict(row) for row in result.rows}


def test_every_generator_meets_every_model(found: Result) -> None:
    rows = by_row(found)
    assert list(rows) == [(m, x) for m in ("one", "two", "three", "noise") for x in ("fragile", "sturdy")]
    for row in found.rows:
        assert set(NAMED) <= set(row) and list(row["models"]) == [row["model"]]
        assert (row["generator"] is None) == (row["method"] == "noise")
    assert rows["one", "fragile"]["sr_mask"] > 0.5 and rows["one", "sturdy"]["sr_mask"] == 0
    assert rows["one", "fragile"]["d_pix"] == rows["two", "fragile"]["d_pix"] > rows["one", "sturdy"]["d_pix"] > 0


def test_black_boxes_are_those_that_the_card_does_not_name(found: Result) -> None:
    boxes = {key: row.get("black_box") for key, row in by_row(found).items()}
    assert boxes == {
        ("one", "fragile"): "no",
        ("one", "sturdy"): "yes",
        ("two", "fragile"): "yes",  # of the same name, but other weights
        ("two", "sturdy"): "no",
        ("three", "fragile"): None,  # its card does not say
        ("three", "sturdy"): None,
        ("noise", "fragile"): None,
        ("noise", "sturdy"): None,
    }
    assert by_row(found)["two", "sturdy"]["targets"] == "fragile, sturdy"


def test_the_figure_marks_them(found: Result) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    found.draw(figure)
    assert [axis.get_title() for axis in figure.axes] == ["SR_mask", "d_pix"]
    for axis in figure.axes:
        assert len(axis.patches) == 2 and len(axis.texts) == 4 * 2
        assert [text.get_text() for text in axis.get_xticklabels()] == ["fragile", "sturdy"]
    assert "not seen" in figure.legends[0].get_texts()[0].get_text()


def test_fine_tuning_and_without(asked: Asked, trained: tuple[str, ...]) -> None:
    result = no_fine_tuning.run(asked(generators=trained, models=("sturdy",)))
    assert result.name == "no-fine-tuning"
    weights = {row["method"]: row.get("lambda_y") for row in result.rows}
    assert weights == {"one": 0, "two": 0.05, "three": None, "noise": None}
    assert list(result.columns)[:2] == ["method", "lambda_y"]


def test_one_must_be_without_it(asked: Asked, trained: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"settings\.lambda_y = 0.*--set lambda_y=0"):
        no_fine_tuning.run(asked(generators=trained[1:]))
