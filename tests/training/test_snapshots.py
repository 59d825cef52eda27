from __future__ import annotations

import itertools

import pytest

from dadfi_fast.training.deepfakes.snapshots import thinned


@pytest.mark.parametrize(
    ("steps", "count", "kept"),
    [
        ([], 3, []),
        ([250], 3, [250]),
        ([100, 200, 300], 3, [200, 300]),  # the first half goes even where there is room
        ([500, 600, 700, 800, 900, 1000], 3, [500, 700, 1000]),
        ([500, 750, 990, 1000], 3, [500, 750, 1000]),  # the one that is missed least
        ([900, 1000], 1, [1000]),
    ],
)
def test_thinned(steps: list[int], count: int, kept: list[int]) -> None:
    assert thinned(steps, count) == kept


def test_a_growing_training_keeps_them_spread() -> None:
    kept: list[int] = []
    for step in range(250, 20_001, 250):
        kept = thinned([*kept, step], 8)
    assert len(kept) == 8 and 10_000 <= kept[0] <= 12_000 and kept[-1] == 20_000
    assert max(after - before for before, after in itertools.pairwise(kept)) <= 2_500
