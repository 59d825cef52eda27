"""The comparison, against models whose fakes are known by hand (see `toy_weights`)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("flip_evaluator")

from dadfi_fast.evaluate import comparison
from dadfi_fast.evaluate.cmua_comparison import BETTER
from dadfi_fast.evaluate.comparison import PLAIN_NOISE
from dadfi_fast.evaluate.experiment import NAMED, Result
from dadfi_fast.types import Float32, UInt8

MakeSetup = Callable[..., Any]
METHODS = ("noise", "pgd", "stripes", "null", PLAIN_NOISE)


class Network:
    """The mean level and a constant as features."""

    def __call__(self, pixels: UInt8) -> Float32:
        return np.stack([pixels.mean((1, 2, 3)), np.ones(len(pixels))], axis=1).astype(np.float32)


@pytest.fixture
def result(
    make_setup: MakeSetup, differentiable: None, monkeypatch: pytest.MonkeyPatch, once: Callable[..., Result]
) -> Result:
    monkeypatch.setattr(comparison, "Inception", Network)
    setup = make_setup(methods=("noise", "pgd"), options={"pgd": {"steps": 6}}, fid=4)
    return once(lambda: comparison.run(setup))


def by_row(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["method"], row["model"]): dict(row) for row in result.rows}


def test_every_method_has_a_row_for_each_model(result: Result) -> None:
    assert list(by_row(result)) == [(method, model) for method in METHODS for model in ("fragile", "sturdy")]
    for row in result.rows:
        assert set(NAMED) <= set(row) and list(row["models"]) == [row["model"]]
        assert row["options"] == ({"pgd": {"steps": 6}} if row["method"] == "pgd" else {}) and row["fid_n"] == 4


def test_what_breaks_and_what_does_not(result: Result) -> None:
    rows = by_row(result)
    assert rows["pgd", "fragile"]["sr_mask"] > 0.5 and rows["stripes", "fragile"]["sr_mask"] > 0.5
    assert rows["pgd", "fragile"]["d_mask"] > 2 * rows["noise", "fragile"]["d_mask"] > 0
    null = rows["null", "fragile"]
    assert null["d_mask"] == null["sr_mask"] == null["sr_mask_jpeg:75"] == 0
    assert all(rows[method, "sturdy"]["sr_mask"] == 0 for method in METHODS)


def test_each_condition_has_its_column(result: Result) -> None:
    keys = {"sr_mask_jpeg:90", "sr_mask_jpeg:75", "sr_mask_resize:0.5"}
    assert keys < set(result.columns)
    assert all(0 <= row[key] <= 1 for row in result.rows for key in keys)


def test_what_is_seen_is_that_of_the_files(result: Result) -> None:
    rows = by_row(result)
    assert all(rows[method, "fragile"]["linf"] <= 6 for method in METHODS[:3])
    assert rows["null", "fragile"]["linf"] == rows["null", "fragile"]["flip"] == 0
    assert math.isnan(rows["null", "fragile"]["psnr"])  # nothing differs
    assert rows["stripes", "fragile"]["psnr"] < 45 and rows["stripes", "fragile"]["flip"] > 0
    assert rows["stripes", "fragile"]["flip"] == rows["stripes", "sturdy"]["flip"]
    plain = rows[PLAIN_NOISE, "fragile"]
    assert plain["linf"] == 6 and plain["psnr"] < rows["noise", "fragile"]["psnr"] and plain["flip"] > 0


def test_the_distance_between_the_sets_of_fakes(result: Result) -> None:
    rows = by_row(result)
    assert rows["null", "fragile"]["fid"] == 0
    assert rows["stripes", "sturdy"]["fid"] < rows["stripes", "fragile"]["fid"]


def test_the_figure(result: Result) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    result.draw(figure)
    assert [axis.get_title() for axis in figure.axes] == ["SR_mask", "jpeg:90", "jpeg:75", "resize:0.5"]
    assert all(len(axis.texts) == len(METHODS) * 2 for axis in figure.axes)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert (
        names[3] == "null"
        and names[4].startswith(f"{PLAIN_NOISE} (")
        and names[2].startswith("stripes (")
        and "dB, FLIP 0." in names[2]
    )


def test_the_table_and_who_is_absent(result: Result) -> None:
    assert all(len(line) == len(result.columns) for line in result.cells())
    assert "does not take part" not in result.text  # only these were asked for


def test_without_cmua_it_is_not_said_who_is_better(result: Result) -> None:
    assert "Not answered: cmua took no part" in result.answer
    assert all(row[BETTER] is None for row in result.rows)


def test_the_generator_against_cmua(make_setup: MakeSetup, differentiable: None, others: Path, tmp_path: Path) -> None:
    quick = {"methods": ("cmua",), "options": {"cmua": {"steps": 1}}, "train": (others,), "out": tmp_path}
    result = comparison.run(make_setup(**quick))
    rows = by_row(result)
    assert [rows["stripes", model][BETTER] for model in ("fragile", "sturdy")] == [
        "yes"
        if rows["stripes", model]["sr_mask_jpeg:75"] > rows["cmua", model]["sr_mask_jpeg:75"]
        and rows["stripes", model]["flip"] < rows["cmua", model]["flip"]
        else "no"
        for model in ("fragile", "sturdy")
    ]
    assert rows["cmua", "fragile"][BETTER] is None and BETTER in result.columns
    assert (
        "**stripes: " in result.answer
        and "does not say what it was trained on; cmua was made on at most 200" in result.answer
    )
    again = comparison.run(make_setup(**quick))
    assert json.dumps(again.rows) == json.dumps(result.rows) and np.array_equal(
        again.arrays["cmua"], result.arrays["cmua"]
    )
