from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.attacks.nsga2 import crowding, knee, order, ranks


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[0, 1], [1, 0], [1, 1], [2, 2]], [0, 0, 1, 2]),
        ([[0, 0], [0, 0], [1, 0]], [0, 0, 1]),  # equal points do not beat each other
        ([[0, 5], [0, 4], [0, 3]], [2, 1, 0]),  # better in one respect, equal in the other
        ([[3, 3]], [0]),
    ],
)
def test_fronts(points: list[list[int]], expected: list[int]) -> None:
    assert ranks(np.array(points, float)).tolist() == expected


def test_the_ends_of_a_front_are_the_loneliest_and_distances_are_scaled() -> None:
    front = np.array([[0, 100], [1, 90], [2, 80], [10, 0]], float)
    assert crowding(front).tolist() == pytest.approx([np.inf, 0.2 + 0.2, 0.9 + 0.9, np.inf])


def test_one_point_and_equal_points_are_taken() -> None:
    assert crowding(np.zeros((1, 2))).tolist() == [np.inf]
    assert not np.isnan(crowding(np.zeros((3, 2)))).any()


def test_the_front_comes_first_then_the_lonely() -> None:
    points = np.array([[5, 5], [0, 10], [1, 9], [2, 8], [10, 0]], float)
    assert order(points).tolist()[:2] == [1, 4]
    assert order(np.array([[1, 1], [0, 2], [2, 2]], float)).tolist()[-1] == 2


def test_the_knee_is_nearest_to_the_best_of_everything() -> None:
    assert knee(np.array([[0, 1000], [0.1, 100], [1, 0]], float)) == 1
    assert knee(np.array([[0.5, 3]], float)) == 0
