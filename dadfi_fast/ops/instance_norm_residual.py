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

from dadfi_fast.ops.fast import KERNELS
from dadfi_fast.ops.node import EPS as EPS


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


def layout_of(x: Tensor) -> torch.memory_format:
    """The layout of the result and of the gradient of ``x``: channels last if ``x`` is, NCHW if it can be read so."""
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


@torch.library.custom_op("dadfi::instance_norm_residual", mutates_args=())
def instance_norm_residual(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, relu: bool = False, eps: float = EPS
) -> Tensor:
    """The operation as PyTorch sees it: see `reference` for arguments and result, `layout_of` for the result's layout.

    Bodies: this one (any device, PyTorch's own instance norm) and those that are registered for a device.
    """
    if x.is_cuda and KERNELS["cuda"]()():  # the first call on a GPU has registered them
        fast: Tensor = instance_norm_residual(x, weight, bias, residual, relu, eps)
        return fast
    # PyTorch keeps the statistics of half-precision planes in float32, but wants the affine part in the planes' dtype
    # or in float32; under autocast ``x`` is bfloat16 and the parameters float32.
    out = F.instance_norm(x, weight=weight.to(x.dtype), bias=bias.to(x.dtype), eps=eps)
    if relu:
        out.relu_()
    return (out if residual is None else out + residual.to(out.dtype)).contiguous(memory_format=layout_of(x))


@instance_norm_residual.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, relu: bool = False, eps: float = EPS
) -> Tensor:
    torch._check(x.dim() == 4, lambda: f"x must be [B, C, H, W], not {tuple(x.shape)}")
    torch._check(weight.shape == bias.shape == x.shape[1:2], lambda: "weight and bias must be [C]")
    if residual is not None:
        torch._check(residual.shape == x.shape, lambda: "the residual must have the shape of x")
    return torch.empty_like(x, memory_format=layout_of(x))


@torch.library.custom_op("dadfi::instance_norm_residual_gradients", mutates_args=())
def instance_norm_residual_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, relu: bool = False, eps: float = EPS
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the operation (that of the residual is ``grad`` itself).

    Args:
        grad: [B, C, H, W], of the result.
        x: [B, C, H, W], as the operation had it; so are ``weight``, ``bias``, ``relu`` and ``eps``.

    Returns:
        Those of ``x`` (its dtype, `layout_of` it), ``weight`` [C] and ``bias`` [C].
    """
    results = gradients(grad, x, weight, bias, relu=relu, eps=eps)
    return results[0].contiguous(memory_format=layout_of(x)), results[1], results[2]


@instance_norm_residual_gradients.register_fake
def _(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, relu: bool = False, eps: float = EPS
) -> tuple[Tensor, Tensor, Tensor]:
    torch._check(grad.shape == x.shape, lambda: "the gradient must have the shape of x")
    return torch.empty_like(x, memory_format=layout_of(x)), torch.empty_like(weight), torch.empty_like(bias)


def gradients(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, *, relu: bool = False, eps: float = EPS
) -> tuple[Tensor, Tensor, Tensor]:
    """`instance_norm_residual_gradients` in PyTorch's own operations, which have gradients in their turn.

    Ioffe & Szegedy 2015, section 3, with a plane for a batch, from statistics computed anew. A batch norm in which
    every plane is a channel is the same thing, and PyTorch has that fused for every device.
    """
    if not x.numel():  # which PyTorch's batch norm does not take
        return torch.zeros_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
    batch, channels = x.shape[:2]
    planes = x.reshape(1, batch * channels, *x.shape[2:])
    scale, shift = (p.to(x.dtype).repeat(batch) for p in (weight, bias))
    out, mean, inverse = torch.native_batch_norm(planes, scale, shift, None, None, True, 0.0, eps)
    g = grad.reshape(planes.shape).to(x.dtype)
    if relu:
        g = torch.ops.aten.threshold_backward(g, out, 0)  # the gradient of ReLU in one pass
    grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
        g, planes, scale, None, None, mean, inverse, True, eps, [True, True, True]
    )
    grad_weight, grad_bias = (p.reshape(batch, channels).sum(0).to(weight.dtype) for p in (grad_weight, grad_bias))
    return grad_x.reshape(x.shape), grad_weight, grad_bias


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x, weight, bias, residual, ctx.relu, ctx.eps = inputs
    ctx.residual_dtype = None if residual is None else residual.dtype
    ctx.save_for_backward(x, weight, bias)


def _backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
    # Somebody wants the gradient of the gradient (create_graph): the fused kernels have none.
    make = gradients if torch.is_grad_enabled() else instance_norm_residual_gradients
    grad_x, grad_weight, grad_bias = make(grad, *ctx.saved_tensors, relu=ctx.relu, eps=ctx.eps)
    grad_residual = None if ctx.residual_dtype is None else grad.to(ctx.residual_dtype)
    return grad_x, grad_weight, grad_bias, grad_residual, None, None


instance_norm_residual.register_autograd(_backward, setup_context=_setup_context)


def _column(parameter: Tensor, like: Tensor) -> Tensor:
    return parameter.to(like.dtype)[:, None, None]
