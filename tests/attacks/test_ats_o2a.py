from __future__ import annotations

import numpy as np

from dadfi_fast.attacks.ats_o2a import AtsO2A
from dadfi_fast.attacks.base import Calls
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.types import Budget, Float32


def tilt(delta: Float32) -> Float32:
    return np.abs(delta[..., :4].mean((1, 2, 3)) - delta[..., 4:].mean((1, 2, 3)))


def test_stops_at_a_picture_as_soon_as_it_is_broken(strong: Target, crops: Float32, labels: Float32) -> None:
    attack = AtsO2A([strong], Budget(0.05))
    tilts = tilt(attack.aim(labels)(crops))
    broken = SUCCESS**0.5 / 8  # the tilt that is enough
    assert (tilts > 0.9 * broken).all() and (tilts < broken + 2 * 0.01 + 0.01).all()
    assert attack.calls.gradients < len(crops) * attack.steps / 2


def test_spends_nothing_where_it_gains_nothing(weak: Target, crops: Float32, labels: Float32) -> None:
    """The first step shows that this model hardly moves; no second one is spent on it."""
    attack = AtsO2A([weak], Budget(), tau=0.01)
    attack.aim(labels)(crops)
    assert attack.calls.gradients == len(crops)
    patient = AtsO2A([weak], Budget(), tau=-1.0, steps=7)
    patient.aim(labels)(crops)
    assert patient.calls.gradients == 7 * len(crops)


def test_a_picture_that_no_edit_changes_is_left_as_it_is(blind: Target, crops: Float32, labels: Float32) -> None:
    silent = AtsO2A([blind], Budget())
    silent.aim(labels)(crops)
    assert silent.calls == Calls(queries=2 * len(crops))  # the clean fakes


def test_a_picture_alone_gets_what_it_gets_among_others(strong: Target, crops: Float32, labels: Float32) -> None:
    together = AtsO2A([strong], Budget()).aim(labels)(crops)
    alone = AtsO2A([strong], Budget()).aim(labels[:1])(crops[:1])
    np.testing.assert_allclose(together[:1], alone, atol=1e-6)
