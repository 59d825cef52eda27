"""The fused operation of the generator: instance norm, ReLU and residual addition in one.

    out = act((x - mean) / sqrt(var + eps) * weight + bias) + residual

with mean and biased variance over each plane (Ulyanov et al. 2016, arXiv 1607.08022), ``act`` the identity or ReLU.
`reference` is the plain version and the truth. A fast body for another device is registered with
``instance_norm_residual.register_kernel("cuda")`` from outside the core.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5


def reference(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, *, relu: bool = False, eps: float = EPS
) -> Tensor:
    """The operation in plain arithmetic, in the dtype of ``x``; statistics in at least float32.

    Args:
        x: [B, C, H, W], floating point.
        weight: [C], scale.
        bias: [C], shift.
        residual: [B, C, H, W], added last; none if absent.
        relu: whether the normalised planes pass a ReLU before the residual is added.
        eps: added to the variance.

    Returns:
        [B, C, H, W] in the dtype of ``x``.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = wide.mean(dim=(2, 3), keepdim=True)
    variance = (wide - mean).square().mean(dim=(2, 3), keepdim=True)
    out = (wide - mean) * torch.rsqrt(variance + eps) * _column(weight, wide) + _column(bias, wide)
    out = out.relu() if relu else out
    return (out if residual is None else out + residual.to(out.dtype)).to(x.dtype)


@torch.library.custom_op("dadfi::instance_norm_residual", mutates_args=())
def instance_norm_residual(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, relu: bool = False, eps: float = EPS
) -> Tensor:
    """The operation as PyTorch sees it: see `reference` for arguments and result.

    Bodies: this one (any device, PyTorch's own instance norm) and those that are registered for a device.
    """
    # PyTorch keeps the statistics of half-precision planes in float32, but wants the affine part in the planes' dtype
    # or in float32; under autocast ``x`` is bfloat16 and the parameters float32.
    out = F.instance_norm(x, weight=weight.to(x.dtype), bias=bias.to(x.dtype), eps=eps)
    if relu:
        out.relu_()
    return out if residual is None else out + residual.to(out.dtype)


@instance_norm_residual.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, relu: bool = False, eps: float = EPS
) -> Tensor:
    torch._check(x.dim() == 4, lambda: f"x must be [B, C, H, W], not {tuple(x.shape)}")
    torch._check(weight.shape == bias.shape == x.shape[1:2], lambda: "weight and bias must be [C]")
    if residual is not None:
        torch._check(residual.shape == x.shape, lambda: "the residual must have the shape of x")
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x, weight, bias, residual, ctx.relu, ctx.eps = inputs
    ctx.residual_dtype = None if residual is None else residual.dtype
    ctx.save_for_backward(x, weight, bias)


def _backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
    """Gradients (Ioffe & Szegedy 2015, section 3, with a plane for a batch), from statistics computed anew.

    A batch norm in which every plane is a channel is the same thing, and PyTorch has that fused for every device.
    """
    x, weight, bias = ctx.saved_tensors
    batch, channels = x.shape[:2]
    planes = x.reshape(1, batch * channels, *x.shape[2:])
    scale, shift = (p.to(x.dtype).repeat(batch) for p in (weight, bias))
    out, mean, inverse = torch.native_batch_norm(planes, scale, shift, None, None, True, 0.0, ctx.eps)
    g = grad.reshape(planes.shape).to(x.dtype)
    if ctx.relu:
        g = torch.ops.aten.threshold_backward(g, out, 0)  # the gradient of ReLU in one pass
    grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
        g, planes, scale, None, None, mean, inverse, True, ctx.eps, [True, True, True]
    )
    grad_weight, grad_bias = (p.reshape(batch, channels).sum(0).to(weight.dtype) for p in (grad_weight, grad_bias))
    grad_residual = None if ctx.residual_dtype is None else grad.to(ctx.residual_dtype)
    return grad_x.reshape(x.shape), grad_weight, grad_bias, grad_residual, None, None


instance_norm_residual.register_autograd(_backward, setup_context=_setup_context)


def _column(parameter: Tensor, like: Tensor) -> Tensor:
    return parameter.to(like.dtype)[:, None, None]
