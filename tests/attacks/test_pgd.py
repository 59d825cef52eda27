from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dadfi_fast.attacks.pgd import FGSM, IFGSM, PGD, per_image, universal
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget, Float32


def tilt(x: Tensor) -> Tensor:
    """A model that answers to one direction only: the difference of the left and the right half."""
    half = x.shape[-1] // 2
    return 3 * (x[..., :half].mean((1, 2, 3)) - x[..., half:].mean((1, 2, 3)))[:, None]


def batches(count: int) -> list[tuple[Tensor, object]]:
    rng = torch.Generator().manual_seed(0)
    return [(torch.rand(4, 3, 8, 8, generator=rng) * 2 - 1, tilt) for _ in range(count)]


def test_finds_the_direction_and_keeps_the_bound() -> None:
    mark = universal(batches(3), eps=0.05, steps=10, step=0.02, rng=torch.Generator().manual_seed(1))
    assert mark.shape == (3, 8, 8) and mark.abs().max() <= 0.05
    left, right = mark[..., :4], mark[..., 4:]
    assert left.sign().unique().tolist() in ([1], [-1])
    assert torch.equal(right.sign().unique(), -left.sign().unique())


def test_each_picture_gets_its_own_direction() -> None:
    def either(x: Tensor) -> Tensor:
        """`tilt` for pictures that are bright in the middle, and the difference of the channels for the others."""
        return torch.where(x[:, 0, 4, 4, None] > 0, tilt(x), 3 * (x[:, :1] - x[:, 1:2]).mean((1, 2, 3))[:, None])

    x = torch.zeros(2, 3, 8, 8) + torch.tensor([0.5, -0.5])[:, None, None, None]
    delta = per_image(x, either, eps=0.05, steps=10, step=0.02, rng=torch.Generator().manual_seed(1))
    assert delta.shape == x.shape and delta.abs().max() <= 0.05
    assert delta[0, ..., :4].sign().unique().tolist() in ([1], [-1])
    assert delta[1, 0].sign().unique().tolist() in ([1], [-1])
    assert torch.equal(delta[1, 1].sign(), -delta[1, 0].sign())


def test_the_same_seed_gives_the_same_mark() -> None:
    one, two = (universal(batches(1), rng=torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(one, two)
    x = torch.zeros(2, 3, 8, 8)
    one, two = (per_image(x, tilt, rng=torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(one, two)


def test_no_pictures_no_mark() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        universal([], rng=torch.Generator())


def distance(target: Target, crops: Float32, delta: Float32) -> float:
    """What the first edit's fake is moved by, mean squared."""
    edit = torch.tensor([[1.0, 0.0]]).expand(len(crops), -1)
    clean, moved = (target.fake(torch.tensor(picture), edit) for picture in (crops, crops + delta))
    return (moved - clean).square().mean().item()


@pytest.mark.parametrize("kind", [FGSM, IFGSM, PGD], ids=lambda kind: kind.__name__)
def test_reaches_the_furthest_that_the_budget_allows(
    kind: type[PGD], strong: Target, crops: Float32, labels: Float32
) -> None:
    delta = kind([strong], Budget(0.05)).aim(labels)(crops)
    assert distance(strong, crops, delta) > 0.9 * (8 * 0.1) ** 2  # the left half up and the right half down, or back
    assert np.abs(crops + delta).max() <= 1


def test_a_single_step_costs_a_gradient_for_each_edit(strong: Target, crops: Float32, labels: Float32) -> None:
    attack = FGSM([strong], Budget())
    attack.aim(labels)(crops)
    assert attack.calls.gradients == len(crops) * 2


def test_edits_in_turn_cost_less(strong: Target, weak: Target, crops: Float32, labels: Float32) -> None:
    attack = PGD([strong, weak], Budget(), steps=4, edits=1)
    attack.aim(labels)(crops)
    assert attack.calls.gradients == len(crops) * 4 * 2


def test_forgotten_labels_are_our_bug(strong: Target, crops: Float32, labels: Float32) -> None:
    with pytest.raises(AssertionError, match="aim"):
        PGD([strong], Budget())(crops)
    with pytest.raises(AssertionError, match="aim"):
        PGD([strong], Budget()).aim(labels[:1])(crops)
