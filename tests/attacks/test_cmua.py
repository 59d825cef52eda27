from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.attacks.base import Calls
from dadfi_fast.attacks.cmua import Watermark, train_watermark
from dadfi_fast.attacks.fusion import FACTORS, fuse, tune
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget, Float32


def test_one_pattern_tilts_every_picture_and_other_ones_too(strong: Target, crops: Float32, labels: Float32) -> None:
    mark = train_watermark([strong], [(crops, labels), (crops[::-1].copy(), labels)], Budget(0.05))
    assert mark.pattern.shape == (3, 8, 8) and np.abs(mark.pattern).max() <= np.float32(0.05)
    tilt = mark.pattern[..., :4].mean() - mark.pattern[..., 4:].mean()
    assert abs(tilt) > 0.09  # 0.1 is all that the bound allows
    delta = mark(np.zeros((2, 3, 8, 8), np.float32))
    assert np.array_equal(delta[0], mark.pattern) and np.array_equal(delta[1], mark.pattern)


def test_what_it_cost_is_known_and_adding_it_is_free(strong: Target, crops: Float32, labels: Float32) -> None:
    mark = train_watermark([strong], [(crops, labels)], Budget(), steps=4)
    mark(crops)
    assert mark.spent == Calls(gradients=len(crops) * 2 * 4, queries=len(crops) * 2)
    assert mark.calls == Calls()


def test_a_model_without_steps_has_no_say(strong: Target, weak: Target, crops: Float32, labels: Float32) -> None:
    batches = [(crops, labels)]
    alone = fuse([strong], batches, eps=0.05, share=0.0)
    both = fuse([strong, weak], batches, eps=0.05, share=0.0, step=[0.01, 0.0])
    np.testing.assert_array_equal(both, alone)


def test_momentum_takes_the_last_directions_along(strong: Target, crops: Float32, labels: Float32) -> None:
    plain, carried = (fuse([strong], [(crops, labels)], eps=0.5, steps=5, momentum=m) for m in (0.0, 1.0))
    tilts = [abs(mark[..., :4].mean() - mark[..., 4:].mean()) for mark in (plain, carried)]
    assert tilts[1] > 1.5 * tilts[0]


def test_each_model_gets_the_step_that_breaks_most(
    strong: Target, weak: Target, crops: Float32, labels: Float32
) -> None:
    """A short step does not break it, one of three times the length does; what cannot be broken keeps its length."""
    calls = Calls()
    options = {"eps": 0.05, "step": 0.01, "steps": 1, "share": 0.0, "seed": 0}
    lengths = tune([strong, weak], [(crops, labels)], calls=calls, **options)
    assert lengths == (pytest.approx(0.03), 0.01)
    assert calls.gradients == 2 * len(FACTORS) * len(crops) * 2 * 2


def test_tuned_steps_are_used(strong: Target, crops: Float32, labels: Float32) -> None:
    batches, options = [(crops, labels)], {"steps": 1, "share": 0.0, "seed": 0}
    mark = train_watermark([strong], batches, Budget(), tuned=True, **options)
    np.testing.assert_array_equal(mark.pattern, fuse([strong], batches, eps=0.05, step=[0.03], **options))


def test_a_pattern_of_another_size_is_resized() -> None:
    pattern = np.full((3, 8, 8), 0.03, np.float32)
    np.testing.assert_allclose(Watermark(Budget(), pattern)(np.zeros((1, 3, 12, 12), np.float32)), 0.03, rtol=1e-6)


def test_no_pictures_no_watermark(strong: Target) -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        train_watermark([strong], [], Budget())
