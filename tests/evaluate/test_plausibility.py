"""Plausibility, on models whose fakes are known by hand (see `toy_weights`)."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from dadfi_fast.deepfakes import registry
from dadfi_fast.evaluate import plausibility
from dadfi_fast.evaluate.experiment import Progress, Result, Setup
from dadfi_fast.evaluate.plausibility import Reals, kept
from dadfi_fast.types import LEVELS, Float32, UInt8


class Network:
    """Gives the mean of the first channel and a constant as features, and notes what it was shown."""

    def __init__(self) -> None:
        self.shown: list[int] = []

    def __call__(self, pixels: UInt8) -> Float32:
        assert pixels.dtype == np.uint8
        self.shown += pixels[:, 0, 0, 0].tolist()
        return np.stack([pixels[:, 0].mean((1, 2)), np.ones(len(pixels))], axis=1).astype(np.float32)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    shared = Network()
    monkeypatch.setattr(plausibility, "Inception", lambda: shared)
    return shared


@pytest.fixture(autouse=True)
def toys(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("load_models", "load_attributes"):
        monkeypatch.setattr(registry, name, functools.partial(getattr(registry, name), folder=toy_weights, threads=1))
    monkeypatch.setattr(plausibility, "BATCH", 4)  # six pictures: one batch and a half
    yield


def measured(archive: Path, table: Path | None, **changes: Any) -> Result:
    return plausibility.run(Setup((archive,), table, models=("sturdy",), **changes))


def by_edit(result: Result) -> dict[str, dict[str, Any]]:
    return {row["edit"]: dict(row) for row in result.rows}


def test_edit_accuracy_and_its_control(archive: Path, table: Path) -> None:
    """The model adds 0.5: the dark pictures (70 to 90) turn bright, which the judge calls Blond_Hair and Young."""
    ticks: list[int] = []
    rows = by_edit(measured(archive, table, progress=Progress(tick=ticks.append)))
    accuracies = {edit: (row["edit_accuracy"], row["unedited"], row["n_asked"]) for edit, row in rows.items()}
    assert accuracies == {
        "Black_Hair": (0, 0, 3),  # the three bright ones stay bright
        "Blond_Hair": (1, 1 / 4, 4),  # of those that lack it, 220 was bright before
        "Brown_Hair": (0, 0, 5),  # the judge never sees it
        "Male": (3 / 6, 3 / 6, 6),  # nor this, which is right for the three men who should not be
        "Young": (2 / 6, 2 / 6, 6),  # always: right for the two who were not
    }
    assert sum(ticks) == 6 * 5


def test_rows_say_what_they_were_measured_on(archive: Path, table: Path) -> None:
    for row in measured(archive, table, seed=4, command="the command").rows:
        assert row["model"] == "sturdy" and row["family"] == "stargan" and row["image_size"] == 32
        assert len(row["models"]["sturdy"]) == len(row["judge"]["seer"]) == 64
        assert (row["n"], row["split"], row["generator"]) == (6, "test, val", None)
        assert (row["seed"], row["command"]) == (4, "the command")
        assert math.isnan(row["fid"]) and row["fid_n"] is None


def test_a_model_that_changes_everything_leaves_nothing_outside(archive: Path, table: Path) -> None:
    for row in measured(archive, table).rows:
        assert row["changed"] == 1 and math.isnan(row["outside"])


def test_kept_tells_apart_where_the_edit_is_and_where_not() -> None:
    image = np.zeros((3, 3, 4, 4), np.float32)
    fake = image.copy()
    fake[0, :, :, :2] = 0.6  # half of the first picture is edited
    fake[0, :, :, 2:] = 0.1  # and the rest moves by 0.1, which is 12.75 levels
    fake[1] = 0.9  # the second is another picture altogether
    outside, changed = kept(image, fake)
    assert changed.tolist() == [0.5, 1, 0]
    assert outside[0] == pytest.approx(0.1 * LEVELS, rel=1e-5)
    assert math.isnan(outside[1]) and outside[2] == 0


def test_frechet_distance_has_one_half_edited_and_the_other_real(archive: Path, table: Path, network: Network) -> None:
    result = measured(archive, table, fid=50)
    for row in result.rows:
        assert row["fid_n"] == 3  # half of what was drawn, though more was asked for
    levels = np.array([level for level in network.shown if level in (70, 80, 90, 200, 210, 220)], float)
    assert len(network.shown) == 5 * 3 + 6  # the first half once an edit, and both halves as they are
    row = by_edit(result)["Blond_Hair"]
    first, second = levels[-6:-3], levels[-3:]
    brighter = np.rint(np.minimum(first + 0.5 * LEVELS, 255))
    assert row["fid_real"] == pytest.approx(distance(first, second), rel=1e-5)
    assert row["fid"] == pytest.approx(distance(brighter, second), rel=1e-5)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Eq. 6 in one dimension."""
    return float((one.mean() - other.mean()) ** 2 + (one.std(ddof=1) - other.std(ddof=1)) ** 2)


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, 4),  # a batch that lies in the first set
        (4, 1),  # one that ends beyond it
        (8, 0),  # one that starts beyond it
    ],
)
def test_only_fakes_of_the_first_set_go_through_the_network(start: int, length: int) -> None:
    reals = Reals(None, Network(), count=5)  # type: ignore[arg-type]
    features = list(reals.features(np.zeros((4, 3, 2, 2), np.float32), start))
    assert sum(map(len, features)) == length


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_for_a_distance(count: int) -> None:
    reals = Reals(None, Network(), count=count)  # type: ignore[arg-type]
    assert reals.count == 0 and not list(reals.features(np.zeros((4, 3, 2, 2), np.float32), 0))
    assert math.isnan(reals.distance([], 2)) and math.isnan(reals.control(2))


def test_the_sheet_marks_what_is_added_and_taken_away(archive: Path, table: Path) -> None:
    result = measured(archive, table)
    pixels = result.sheets["sturdy"]
    assert pixels.shape[1] == 6 * 100 + 4  # the original and five edits, 96 px each
    own = np.array([0, 0, 1, 1], np.float32)
    marks = plausibility._marks(("Black_Hair", np.array([0, 1, 0, 1], np.float32)), own)
    assert marks == ["", "+", "-", ""]


def test_labels_may_come_from_the_judge(archive: Path) -> None:
    rows = by_edit(measured(archive, None))
    assert rows["Blond_Hair"]["labels"] == "those that seer sees"
    assert (rows["Blond_Hair"]["edit_accuracy"], rows["Blond_Hair"]["unedited"]) == (1, 0)
    assert rows["Blond_Hair"]["n_asked"] == 3


@pytest.mark.parametrize("fid", [0, 3])
def test_the_figure(archive: Path, table: Path, network: Network, fid: int) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    measured(archive, table, fid=fid).draw(figure)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:3] == ["edit accuracy", "outside the edit (levels)", "share of pixels changed"]
    assert titles[3:] == (["FID (n = 3 and 3)"] if fid else [])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()][1] == "Blond Hair"
    assert len(figure.axes[0].patches) == 5
