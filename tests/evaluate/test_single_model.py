"""Generators by models, with models whose fakes are known by hand (see `toy_weights`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from dadfi_fast.errors import UsageError
from dadfi_fast.evaluate import no_fine_tuning, single_model
from dadfi_fast.evaluate.experiment import NAMED, Result
from dadfi_fast.model_card import read_card

MakeSetup = Callable[..., Any]


@pytest.fixture
def trained(carded: Callable[..., Path], toy_weights: Path) -> tuple[str, ...]:
    """Three generators: against ``fragile``; against another file of its name and ``sturdy``; nobody knows."""
    fragile, sturdy = (read_card(toy_weights / f"{name}.md").sha256 for name in ("fragile", "sturdy"))
    one = carded("one", targets=[{"name": "fragile", "sha256": fragile}], settings={"lambda_y": 0})
    targets = [{"name": "fragile", "sha256": "0" * 64}, {"name": "sturdy", "sha256": sturdy}]
    two = carded("two", targets=targets, settings={"lambda_y": 0.05})
    return str(one), str(two), str(carded("three"))


@pytest.fixture
def result(make_setup: MakeSetup, trained: tuple[str, ...], once: Callable[..., Result]) -> Result:
    return once(lambda: single_model.run(make_setup(generators=trained)))


def by_row(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["method"], row["model"]): dict(row) for row in result.rows}


def test_every_generator_meets_every_model(result: Result) -> None:
    rows = by_row(result)
    assert list(rows) == [(m, x) for m in ("one", "two", "three", "null", "noise") for x in ("fragile", "sturdy")]
    for row in result.rows:
        assert set(NAMED) <= set(row) and list(row["models"]) == [row["model"]]
        assert (row["generator"] is None) == (row["method"] in ("null", "noise"))
    assert rows["one", "fragile"]["sr_mask"] > 0.5 and rows["one", "sturdy"]["sr_mask"] == 0
    assert rows["one", "fragile"]["d_pix"] == rows["two", "fragile"]["d_pix"] > rows["one", "sturdy"]["d_pix"] > 0


def test_black_boxes_are_those_that_the_card_does_not_name(result: Result) -> None:
    boxes = {key: row.get("black_box") for key, row in by_row(result).items()}
    assert boxes == {
        ("one", "fragile"): "no",
        ("one", "sturdy"): "yes",
        ("two", "fragile"): "yes",  # of the same name, but other weights
        ("two", "sturdy"): "no",
        ("three", "fragile"): None,  # its card does not say
        ("three", "sturdy"): None,
        ("null", "fragile"): None,
        ("null", "sturdy"): None,
        ("noise", "fragile"): None,
        ("noise", "sturdy"): None,
    }
    assert by_row(result)["two", "sturdy"]["targets"] == "fragile, sturdy"


def test_the_figure_marks_them(result: Result) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    result.draw(figure)
    assert [axis.get_title() for axis in figure.axes] == ["SR_mask", "d_pix"]
    for axis in figure.axes:
        assert len(axis.patches) == 2 and len(axis.texts) == 5 * 2
        assert [text.get_text() for text in axis.get_xticklabels()] == ["fragile", "sturdy"]
    assert "not seen" in figure.legends[0].get_texts()[0].get_text()


def test_fine_tuning_and_without(make_setup: MakeSetup, trained: tuple[str, ...]) -> None:
    result = no_fine_tuning.run(make_setup(generators=trained, models=("sturdy",)))
    assert result.name == "no-fine-tuning"
    weights = {row["method"]: row.get("lambda_y") for row in result.rows}
    assert weights == {"one": 0, "two": 0.05, "three": None, "null": None, "noise": None}
    assert list(result.columns)[:2] == ["method", "lambda_y"]


def test_one_must_be_without_it(make_setup: MakeSetup, trained: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"settings\.lambda_y = 0.*--set lambda_y=0"):
        no_fine_tuning.run(make_setup(generators=trained[1:]))


def test_the_answer_goes_by_what_was_seen(result: Result) -> None:
    text = result.answer
    assert "one, trained against fragile: SR_mask" in text and "three: its card does not say" in text
    # `two` breaks the fragile model, which it has not seen, and not the sturdy one, which it has.
    assert "1 of 2 do" in text and "does not go the way of the paper throughout" in text


def row(method: str, model: str, success: float, black_box: str | None) -> dict[str, Any]:
    return {
        "method": method, "model": model, "sr_mask": success, "black_box": black_box, "targets": "a", "generator": "0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("g", "a", 0.9, "no"), row("g", "b", 0.1, "yes")], "Yes, all of them"),
        ([row("g", "a", 0.1, "no"), row("g", "b", 0.1, "yes")], "0 of 1 do"),
        ([row("g", "a", 0.9, "no")], "Not answered"),
        ([row("g", "a", 0.9, None)], "Not answered"),
    ],
)
def test_the_answers(rows: list[dict[str, Any]], message: str) -> None:
    assert message in single_model.answer(rows)


def test_fine_tuning_in_words(make_setup: MakeSetup, trained: tuple[str, ...], carded: Callable[..., Path]) -> None:
    text = no_fine_tuning.run(make_setup(generators=trained[:2])).answer
    assert "On 0 of 2 models" in text  # both are the same network
    assert "The generators differ in more than that, by their cards: targets" in text
    alone = no_fine_tuning.run(make_setup(generators=trained[:1], models=("sturdy",))).answer
    assert "Not answered: name a generator that was trained with it" in alone and "differ" not in alone


def test_fine_tuning_as_in_the_paper() -> None:
    rows = [{"model": "m", "d_pix": d_pix, "lambda_y": weight} for d_pix, weight in ((0.07, 0.05), (0.03, 0.0))]
    text = no_fine_tuning.answer([*rows, {"model": "m", "d_pix": 0.0}])
    assert "On 1 of 1 models" in text and "m: d_pix 0.0700 with, 0.0300 without: yes" in text
