from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.attacks.memetic import search
from dadfi_fast.attacks.moma import Genome, Moma, MomaStage
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget, Float32

OFF = MomaStage("i-fgsm", "masked", 1, 0)


def tilt(delta: Float32) -> float:
    return float(np.abs(delta[..., :4].mean((1, 2, 3)) - delta[..., 4:].mean((1, 2, 3))).mean())


@pytest.mark.parametrize(
    ("genome", "steps"),
    [
        ((OFF, OFF, OFF), 0),
        ((MomaStage("i-fgsm", "masked", 8, 2), OFF, OFF), 2),
        ((MomaStage("pgd", "pixel", 8, 3), OFF, MomaStage("mi-fgsm", "absolute", 8, 4)), 7),
    ],
)
def test_each_step_costs_a_gradient_of_each_model(
    genome: Genome, steps: int, strong: Target, weak: Target, crops: Float32, labels: Float32
) -> None:
    attack = Moma([strong, weak], Budget(), genome)
    delta = attack.aim(labels)(crops)
    assert attack.calls.gradients == steps * 2 * len(crops)
    assert delta.any() == (steps > 0)


@pytest.mark.parametrize("attacker", ["i-fgsm", "mi-fgsm", "pgd"])
def test_every_attacker_reaches_the_bound_that_its_stage_has(
    attacker: str, strong: Target, crops: Float32, labels: Float32
) -> None:
    delta = Moma([strong], Budget(0.08), (MomaStage(attacker, "masked", 4, 6), OFF, OFF)).aim(labels)(crops)
    assert np.abs(delta).max() == pytest.approx(0.04, rel=1e-5)
    assert tilt(delta) > 0.06


def test_a_stage_begins_where_the_last_one_ended(strong: Target, crops: Float32, labels: Float32) -> None:
    first = MomaStage("i-fgsm", "masked", 8, 4)
    one = Moma([strong], Budget(), (first, OFF, OFF), edits=None).aim(labels)(crops)
    then = Moma([strong], Budget(), (first, MomaStage("i-fgsm", "masked", 4, 1), OFF), edits=None).aim(labels)(crops)
    cut = np.clip(one, -0.025, 0.025)
    assert np.array_equal(np.sign(cut), np.sign(then)) and np.abs(then).max() <= 0.025 + 1e-7


def test_words() -> None:
    assert str(MomaStage("pgd", "pixel", 3, 5)) == "pgd(pixel, 3/8, 5)"


def test_the_search_finds_what_breaks_the_model_and_what_is_cheap(
    strong: Target, crops: Float32, labels: Float32
) -> None:
    front = search([strong], crops, labels, Budget(), population=6, generations=3, edits=None, batch=2)
    assert list(front.costs) == sorted(front.costs)
    assert list(front.failures) == sorted(front.failures, reverse=True)  # what costs more must fail less
    assert min(front.failures) == 0.5  # the second edit changes nothing, so it cannot be broken
    assert front.best == front.genomes[-1] and front.knee in front.genomes
    assert front.spent.gradients > 0


def test_the_figures_are_those_of_the_attack(strong: Target, crops: Float32, labels: Float32) -> None:
    front = search([strong], crops, labels, Budget(), population=4, generations=1, edits=None, seed=2)
    for genome, cost in zip(front.genomes, front.costs, strict=True):
        attack = Moma([strong], Budget(), genome, edits=None, seed=2)
        attack.aim(labels)(crops)
        assert attack.calls.gradients / len(crops) == cost


def test_the_same_seed_finds_the_same(strong: Target, crops: Float32, labels: Float32) -> None:
    one, two = (search([strong], crops, labels, Budget(), population=4, generations=2, seed=5) for _ in range(2))
    assert one == two
