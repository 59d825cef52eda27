from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dadfi_fast.attacks.pgd import universal


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


def test_the_same_seed_gives_the_same_mark() -> None:
    one, two = (universal(batches(1), rng=torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(one, two)


def test_no_pictures_no_mark() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        universal([], rng=torch.Generator())
