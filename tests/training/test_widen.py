"""A widened generator computes what the narrow one did, and learns other things than twice the same."""

from __future__ import annotations

import pytest
import torch

from dadfi_fast.models.generator import Generator
from dadfi_fast.training.widen import doublings, widen


def small_generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator("s")
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return generator


def test_is_the_same_function() -> None:
    narrow, wide = small_generator(), Generator("m")
    wide.load_state_dict(widen(narrow.state_dict()))
    x = torch.rand(2, 3, 24, 40) * 2 - 1
    with torch.no_grad():
        before, after = narrow(x), wide(x)
    assert before.abs().max() > 0.01
    assert torch.allclose(before, after, atol=1e-5)


def test_copies_learn_different_things() -> None:
    wide = Generator("m")
    wide.load_state_dict(widen(small_generator().state_dict()))
    wide(torch.rand(1, 3, 16, 16) * 2 - 1).square().sum().backward()
    gradient = wide.down[1].conv.weight.grad
    assert gradient is not None
    one, other = gradient.chunk(2)
    assert not torch.allclose(one, other, rtol=0.01)


@pytest.mark.parametrize(("narrow", "wide", "times"), [("s", "s", 0), ("s", "m", 1), ("s", "l", 2), ("m", "s", None)])
def test_doublings(narrow: str, wide: str, times: int | None) -> None:
    assert doublings(narrow, wide) == times
