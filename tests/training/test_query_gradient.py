from __future__ import annotations

import torch

from dadfi_fast.training.query_gradient import query_gradient


def square(x: torch.Tensor) -> torch.Tensor:
    return x.square() + 0.5 * x.roll(1, dims=3)


def gradient(directions: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    rng = torch.Generator().manual_seed(seed)
    out = query_gradient(square, x, directions=directions, sigma=0.01, rng=rng)
    assert torch.equal(out, square(x))
    (estimate,) = torch.autograd.grad(out.square().sum(), x)
    (exact,) = torch.autograd.grad(square(x).square().sum(), x)
    return estimate, exact


def test_the_estimate_comes_to_the_gradient() -> None:
    few, exact = gradient(8)
    many, _ = gradient(2000)
    likeness = [torch.cosine_similarity(e.flatten(), exact.flatten(), dim=0).item() for e in (few, many)]
    assert likeness[0] < likeness[1] and likeness[1] > 0.97
    torch.testing.assert_close(many.norm(), exact.norm(), rtol=0.1, atol=0)


def test_the_same_seed_asks_the_same_questions() -> None:
    assert torch.equal(gradient(4)[0], gradient(4)[0])
    assert not torch.equal(gradient(4)[0], gradient(4, seed=1)[0])


def test_the_model_is_never_differentiated() -> None:
    def only_called(x: torch.Tensor) -> torch.Tensor:
        assert not x.requires_grad and not torch.is_grad_enabled()
        return square(x)

    x = torch.rand(1, 3, 4, 4, requires_grad=True)
    query_gradient(only_called, x, directions=3, sigma=0.01, rng=torch.Generator()).sum().backward()
    assert x.grad is not None and x.grad.abs().max() > 0
