from __future__ import annotations

import pytest
import torch

from dadfi_fast.ops.instance_norm_residual import (
    instance_norm_residual,
    instance_norm_residual_gradients,
    reference,
)

SHAPES = [
    (1, 1, 1, 2),  # the smallest plane with a variance
    (2, 3, 8, 8),
    (2, 5, 9, 7),  # odd sizes
    (3, 8, 33, 65),  # just above powers of two
    (1, 16, 64, 64),
]
#: Largest error against float64 for values of about 1, and why it is that large.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 4e-2, torch.float16: 5e-3}


def inputs(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(seed)
    x, residual = (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2))
    weight, bias = (torch.randn(shape[1], generator=rng, dtype=torch.float64) for _ in range(2))
    return tuple(t.to(dtype) for t in (x, weight, bias, residual))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_agrees_with_float64(shape: tuple[int, ...], relu: bool, added: bool, dtype: torch.dtype) -> None:
    x, weight, bias, residual = inputs(shape, dtype)
    rest = residual if added else None
    truth = reference(x.double(), weight.double(), bias.double(), rest.double() if added else None, relu=relu)
    for out in (instance_norm_residual(x, weight, bias, rest, relu), reference(x, weight, bias, rest, relu=relu)):
        assert out.dtype == dtype
        assert (out.double() - truth).abs().max() <= TOLERANCE[dtype] * max(1.0, truth.abs().max().item())


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("added", [False, True])
def test_gradients(relu: bool, added: bool) -> None:
    x, weight, bias, residual = (t.requires_grad_() for t in inputs((2, 3, 5, 4), torch.float64))
    rest = residual if added else None

    def run(*args: torch.Tensor) -> torch.Tensor:
        return instance_norm_residual(*args, rest, relu)

    assert torch.autograd.gradcheck(run, (x, weight, bias))
    if added:
        grad = torch.autograd.grad(instance_norm_residual(x, weight, bias, residual, relu).sum(), residual)[0]
        assert torch.equal(grad, torch.ones_like(grad))


def test_is_a_well_made_operator() -> None:
    x, weight, bias, residual = inputs((2, 3, 5, 4), torch.float32)
    torch.library.opcheck(instance_norm_residual, (x.requires_grad_(), weight, bias, residual, True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_the_layout_is_that_of_x(layout: torch.memory_format) -> None:
    x, weight, bias, residual = inputs((2, 3, 5, 4), torch.float32)
    x = x.contiguous(memory_format=layout).requires_grad_()
    out = instance_norm_residual(x, weight, bias, residual, True)
    assert out.is_contiguous(memory_format=layout)
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert grad.is_contiguous(memory_format=layout)
    torch.library.opcheck(instance_norm_residual, (x, weight, bias, residual, True))
    torch.library.opcheck(instance_norm_residual_gradients, (residual, x.detach(), weight, bias, True))


@pytest.mark.parametrize("relu", [False, True])
def test_gradients_of_gradients(relu: bool) -> None:
    x, weight, bias, _ = (t.requires_grad_() for t in inputs((1, 2, 3, 3), torch.float64))
    assert torch.autograd.gradgradcheck(lambda *args: instance_norm_residual(*args, None, relu), (x, weight, bias))


def test_nothing_in_no_gradients() -> None:
    x, weight, bias, _ = inputs((2, 3, 5, 4), torch.float32)
    gradients = instance_norm_residual_gradients(x[:0], x[:0], weight, bias)
    assert gradients[0].shape == (0, 3, 5, 4) and not gradients[1].any() and not gradients[2].any()


def test_one_plane_does_not_leak_into_another() -> None:
    x, weight, bias, _ = inputs((2, 3, 8, 8), torch.float32)
    clean = instance_norm_residual(x, weight, bias)
    x[0, 1, 2, 2] = float("nan")
    out = instance_norm_residual(x, weight, bias)
    assert out[0, 1].isnan().all()
    out[0, 1] = clean[0, 1]
    assert torch.equal(out, clean)


def test_a_constant_plane_becomes_its_bias() -> None:
    x = torch.full((1, 2, 6, 6), 3.0)
    out = instance_norm_residual(x, torch.ones(2), torch.tensor([0.5, -1.0]))
    # The mean may be wrong by one rounding, which 1 / sqrt(eps) magnifies 316 times.
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([0.5, -1.0]), atol=2e-4, rtol=0)


def test_a_wrong_shape_is_told_under_tracing() -> None:
    fake = torch._subclasses.FakeTensorMode()
    with fake, pytest.raises(RuntimeError, match="shape of x"):
        instance_norm_residual(torch.ones(1, 2, 4, 4), torch.ones(2), torch.ones(2), torch.ones(1, 2, 4, 5))
