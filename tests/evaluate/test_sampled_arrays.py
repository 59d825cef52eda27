from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from dadfi_fast.deepfakes.registry import load_attributes
from dadfi_fast.errors import DataError
from dadfi_fast.evaluate.experiment import Setup
from dadfi_fast.evaluate.sampled_arrays import SampledArrays

COLUMNS = ("Young", "Black_Hair", "Young")


@pytest.fixture
def draw(archive: Path, table: Path, toy_weights: Path) -> Any:
    judge = load_attributes(folder=toy_weights, threads=1)

    def make(*, labelled: bool = True, columns: tuple[str, ...] = COLUMNS, **changes: Any) -> SampledArrays:
        return SampledArrays(Setup((archive,), table if labelled else None, **changes), columns=columns, judge=judge)

    return make


def levels(pictures: SampledArrays, size: int = 32) -> list[int]:
    pixels = pictures.at(size)
    assert pixels.shape == (len(pictures), 3, size, size)
    return [int(level) for level in pixels[:, 0, 0, 0]]


def test_the_same_pictures_at_every_size_with_their_labels(draw: Any) -> None:
    drawn = draw(sample=4)
    assert len(drawn) == 4 and len(set(levels(drawn))) == 4
    assert levels(drawn, 8) == levels(drawn)
    black, young = {70, 80, 90}, {70, 80, 200, 220}
    expected = [[level in black, level in young] for level in levels(drawn)]
    assert np.array_equal(drawn.labels(["Black_Hair", "Young"]), expected)


def test_a_seed_draws_the_same_ones_again(draw: Any) -> None:
    assert levels(draw(sample=4)) == levels(draw(sample=4))
    assert len({tuple(levels(draw(sample=4, seed=seed))) for seed in range(5)}) > 1


def test_all_where_no_number_is_given(draw: Any) -> None:
    assert len(draw()) == len(draw(sample=50)) == 6


def test_without_a_table_the_judge_says_what_there_is(draw: Any) -> None:
    drawn = draw(labelled=False, columns=("Black_Hair", "Bald"))
    assert np.array_equal(drawn.labels(["Black_Hair"])[:, 0], [level < 128 for level in levels(drawn)])
    assert not drawn.labels(["Bald"]).any()  # unknown to the judge: absent, as in `check`
    facts = drawn.facts()
    assert facts["labels"] == "those that seer sees" and facts["split"] is None


def test_facts(draw: Any, archive: Path) -> None:
    facts = draw().facts()
    assert facts["n"] == 6 and facts["labels"] == "labels.csv"
    assert facts["split"] == "test, val"  # of the pictures that were drawn
    assert [(each["archive"], len(each["sha256"])) for each in facts["data"]] == [(archive.name, 64)]


def test_a_table_without_splits(draw: Any, table: Path) -> None:
    table.write_text(table.read_text().replace("split", "part"))
    assert draw().facts()["split"] is None


def test_an_attribute_that_the_table_lacks(draw: Any) -> None:
    with pytest.raises(DataError, match="has no column Bald"):
        draw(columns=("Bald",))
