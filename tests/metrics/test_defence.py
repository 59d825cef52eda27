"""The defence metrics against sums worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dadfi_fast.metrics.defence import edit_mask, mask_distance, pixel_distance, protected, score, success

NAN = float("nan")


def flat(value: float, n: int = 1) -> np.ndarray:
    return np.full((n, 3, 4, 4), value, dtype=np.float32)


@pytest.mark.parametrize(
    ("y", "broken", "expected"),
    [
        (0.0, 0.5, 0.25),
        (-1.0, 1.0, 4.0),  # the largest distance there is
        (-3.0, 7.0, 4.0),  # both are clamped first
        (0.3, 0.3, 0.0),
    ],
)
def test_pixel_distance(y: float, broken: float, expected: float) -> None:
    assert pixel_distance(flat(y, 2), flat(broken, 2)) == pytest.approx([expected] * 2, abs=1e-6)


def test_mask_is_where_the_edit_changed_the_sum_over_channels() -> None:
    x, y = flat(0.0), flat(0.0)
    y[0, 0, 0, 0] = 0.6  # one channel alone is enough
    y[0, :, 1, 1] = -0.2  # three small changes add up to 0.6, whatever their sign
    y[0, :2, 2, 2] = 0.25  # exactly 0.5 is not above it
    assert np.argwhere(edit_mask(x, y)[0]).tolist() == [[0, 0], [1, 1]]


def test_mask_distance_leaves_out_what_the_edit_did_not_touch() -> None:
    y, broken = flat(0.0), flat(0.0)
    mask = np.zeros((1, 4, 4), dtype=bool)
    mask[0, 0, :2] = True
    broken[0, :, 0, 0] = 1.0  # in the mask: 3 of its 6 values
    broken[0, :, 3, 3] = 1.0  # outside
    assert mask_distance(y, broken, mask) == pytest.approx([0.5])


def test_mask_distance_is_nan_where_the_mask_is_empty() -> None:
    mask = np.zeros((2, 4, 4), dtype=bool)
    mask[1] = True
    distances = mask_distance(flat(0.0, 2), flat(0.5, 2), mask)
    assert math.isnan(distances[0])
    assert distances[1] == pytest.approx(0.25)


def test_success_needs_more_than_the_threshold() -> None:
    assert success(np.array([0.05, 0.0501, NAN, 4.0])).tolist() == [False, True, False, True]


def test_score_counts_an_empty_mask_as_failure_but_leaves_it_out_of_the_mean() -> None:
    scores = score(np.array([[0.1, 0.0], [0.1, 0.1]]), np.array([[0.2, NAN], [0.4, 0.03]]))
    assert (scores.n_edits, scores.n_empty) == (2, 1)
    assert scores.d_pix == pytest.approx(0.075)
    assert scores.d_mask == pytest.approx(0.21)
    assert scores.sr == pytest.approx(0.75)
    assert scores.sr_mask == pytest.approx(0.5)


def test_score_of_empty_masks_alone_has_no_mask_distance() -> None:
    scores = score(np.array([[0.1]]), np.array([[NAN]]))
    assert math.isnan(scores.d_mask)
    assert scores.sr_mask == 0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.1, 0.1], [0.1], True),
        ([0.1, 0.01], [0.1], False),  # one edit holds out
        ([0.1, 0.1], [0.01], False),  # one model holds out
        ([0.1, NAN], [0.1], True),  # an empty mask says nothing
        ([NAN, NAN], [0.1], True),
        ([NAN, NAN], [NAN], False),  # nothing was shown
    ],
)
def test_protected_against_every_model_and_edit(first: list[float], second: list[float], expected: bool) -> None:
    assert protected([np.array([first]), np.array([second])]).tolist() == [expected]
