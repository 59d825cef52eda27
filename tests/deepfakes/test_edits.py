"""The edits asked of a deepfake model."""

from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.deepfakes.edits import edits, exclusive


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        # black hair, young: a colour replaces the colour, the others are flipped
        ([1, 0, 0, 0, 1], [[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 1, 0, 1], [1, 0, 0, 1, 1], [1, 0, 0, 0, 0]]),
        # grey hair (no colour known), old man
        ([0, 0, 0, 1, 0], [[1, 0, 0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]),
    ],
    ids=["colour", "no colour"],
)
def test_one_edit_for_each_attribute(labels: list[int], expected: list[list[int]]) -> None:
    assert edits(np.array([labels], np.float32))[:, 0].tolist() == expected


def test_edits_leave_their_input_alone() -> None:
    labels = np.ones((3, 5), np.float32)
    edits(labels)
    assert labels.min() == 1


def test_hair_colours_are_known_by_name_in_any_order() -> None:
    names = ("Young", "Brown_Hair", "Male", "Black_Hair")
    assert exclusive(names) == [1, 3]
    assert edits(np.array([[1, 1, 0, 0]], np.float32), names=names)[3, 0].tolist() == [1, 0, 0, 1]
