"""Separable filters, against the convolution that they replace."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dadfi_fast.ops.separable import filtered

ACROSS = torch.tensor([0.1, -0.3, 0.7, 0.2, 0.4], dtype=torch.float64)
DOWN = torch.tensor([0.5, 0.2, -0.6], dtype=torch.float64)


def convolved(padded: Tensor) -> Tensor:
    """Every plane of ``padded`` [B, C, H + 2, W + 4] by the kernels above."""
    planes = padded.flatten(0, 1)[:, None]
    kernel = (DOWN[:, None] * ACROSS).to(padded)[None, None]
    return F.conv2d(planes, kernel)[:, 0].unflatten(0, padded.shape[:2])


@pytest.mark.parametrize("shape", [(2, 3, 9, 12), (1, 1, 2, 5)])
@pytest.mark.parametrize("beyond", ["replicate", "zero"])
def test_equals_a_convolution_of_the_padded_picture(beyond, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    mode = {"replicate": "replicate", "zero": "constant"}[beyond]
    expected = convolved(F.pad(x, (2, 2, 1, 1), mode=mode))
    torch.testing.assert_close(filtered(x, ACROSS, DOWN, beyond=beyond), expected)


def test_mirrors_above_and_below_with_zero_at_the_sides():
    x = torch.randn(1, 2, 6, 7, generator=torch.Generator().manual_seed(0))
    mirrored = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
    expected = convolved(F.pad(mirrored, (2, 2)))
    torch.testing.assert_close(filtered(x, ACROSS, DOWN, beyond="zero", beyond_rows="mirror"), expected)


def test_a_mirror_has_the_second_pixel_two_beyond_the_edge():
    x = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    far = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])  # takes what is two to the left
    assert filtered(x, far, torch.ones(1), beyond="mirror").tolist() == [[2.0, 1.0, 1.0, 2.0]]


def test_gradient():
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: filtered(p, ACROSS, DOWN), x)


def test_a_filter_first_used_in_inference_has_a_gradient_later():
    kernel, x = torch.tensor([0.2, 0.5, 0.3]), torch.ones(1, 1, 11, 13)
    with torch.inference_mode():
        filtered(x, kernel, kernel)
    x.requires_grad_()
    filtered(x, kernel, kernel).sum().backward()
    assert x.grad is not None and x.grad.sum().item() == pytest.approx(11 * 13)
