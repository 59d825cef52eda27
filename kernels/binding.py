"""The kernels as PyTorch sees them: the CUDA bodies of `dadfi_fast.ops.instance_norm_residual` and of its gradients.

The rules for shapes and layouts are those of the operation itself; torch.compile takes the bodies as they are.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from dadfi_fast.errors import BackendMissing
from dadfi_fast.kernels import loader
from dadfi_fast.kernels.choice import Planes, gradient_plan, plan
from dadfi_fast.kernels.machine import Machine, machine
from dadfi_fast.ops.instance_norm_residual import (
    EPS,
    gradients,
    instance_norm_residual,
    instance_norm_residual_gradients,
    layout_of,
    reference,
)

#: Dtypes that there are kernels for, by the name that the kernels use.
NAMES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
#: How weight and bias may be stored, by the number that the kernels use.
PARAMETERS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


def missing() -> str | None:
    """Why the kernels cannot run here, and how to fix it; None if they can."""
    if not torch.cuda.is_available():
        return "PyTorch finds no NVIDIA GPU"
    old = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()) if _capability(i) < loader.OLDEST]
    if old:
        return f"{old[0]} is older than compute capability {loader.OLDEST[0]}.{loader.OLDEST[1]}"
    why = loader.missing()
    if why is None and (loader.driver_version() or 0) < loader.OLDEST_DRIVER:
        return "the NVIDIA driver is older than CUDA 13; install version 580 or newer"
    return why


@functools.cache
def register() -> None:
    """Make the kernels the CUDA body of the operation and of its gradients, for this process.

    Raises:
        BackendMissing: they cannot run here.
    """
    why = missing()
    if why is not None:
        raise BackendMissing(f"the CUDA kernels cannot run here: {why}")
    instance_norm_residual.register_kernel("cuda")(fused)
    instance_norm_residual_gradients.register_kernel("cuda")(fused_gradients)


def fused(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    relu: bool = False,
    eps: float = EPS,
    *,
    version: str = "auto",
    on: Machine | None = None,
) -> Tensor:
    """The operation `instance_norm_residual` by the kernels; for its gradients see `fused_gradients`.

    Args:
        x: [B, C, H, W] on a CUDA device. float32, float16 or bfloat16; others go through `reference`.
        weight: [C], any floating dtype.
        bias: [C].
        residual: [B, C, H, W], added last; none if absent. Copied if its layout or dtype is not that of ``x``.
        relu: whether the normalised planes pass a ReLU before the residual is added.
        eps: added to the variance.
        version: of `dadfi_fast.kernels.choice.VERSIONS`, or ``auto``.
        on: what launches the kernels; the device of ``x`` if None.

    Returns:
        [B, C, H, W] in the dtype of ``x``, in its `layout_of`. ``x`` is read where it lies, NCHW or channels last; only
        strides that are neither are copied.

    Raises:
        RuntimeError: shapes or devices do not fit together.
        BackendMissing: the kernels cannot be compiled here.
        UsageError: ``version`` cannot run on this GPU or with these planes.
    """
    _check(x, weight, bias, residual)
    if x.dtype not in NAMES or not x.numel():
        return reference(x, weight, bias, residual, relu=relu, eps=eps).contiguous(memory_format=layout_of(x))
    on = machine(x.device.index) if on is None else on
    layout = layout_of(x)
    x = x.contiguous(memory_format=layout)
    residual = None if residual is None else residual.to(x.dtype).contiguous(memory_format=layout)
    weight, bias = _parameters(weight, bias)
    out = torch.empty_like(x)
    chosen = plan(_planes(x, residual, layout), on.gpu, version)
    workspace = x.new_empty(chosen.workspace, dtype=torch.float32)
    tensors = (x, weight, bias, residual, out, workspace)
    sizes = (x.shape[1], x.shape[2] * x.shape[3], chosen.capacity, chosen.splits, chosen.column_bits)
    for step in chosen.steps:
        on.launch(step, NAMES[x.dtype], tensors, (*sizes, PARAMETERS[weight.dtype], int(relu), float(eps)))
    return out


def fused_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    relu: bool = False,
    eps: float = EPS,
    *,
    on: Machine | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`dadfi_fast.ops.instance_norm_residual_gradients` by the kernels.

    Args:
        grad: [B, C, H, W], of the result; copied if its layout or dtype is not that of ``x``.
        x: as in `fused`, and so are ``weight``, ``bias``, ``relu``, ``eps`` and ``on``.

    Returns:
        Those of ``x`` (its dtype, its `layout_of`), ``weight`` [C] and ``bias`` [C] (their dtypes).

    Raises:
        RuntimeError: shapes or devices do not fit together.
        BackendMissing: the kernels cannot be compiled here.
    """
    _check(x, weight, bias, grad)
    layout = layout_of(x)
    if x.dtype not in NAMES or not x.numel():
        results = gradients(grad, x, weight, bias, relu=relu, eps=eps)
        return results[0].contiguous(memory_format=layout), results[1], results[2]
    on = machine(x.device.index) if on is None else on
    x, grad = (t.to(x.dtype).contiguous(memory_format=layout) for t in (x, grad))
    scale, shift = _parameters(weight, bias)
    grad_x = torch.empty_like(x)
    chosen = gradient_plan(_planes(x, grad, layout), on.gpu)
    sums = x.new_empty(*x.shape[:2], 2, dtype=torch.float32)
    sizes = (x.shape[1], x.shape[2] * x.shape[3], chosen.capacity, chosen.splits, chosen.column_bits)
    numbers = (*sizes, PARAMETERS[scale.dtype], int(relu), float(eps))
    on.launch(chosen.steps[0], NAMES[x.dtype], (x, scale, shift, grad, grad_x, sums), numbers)
    grad_weight, grad_bias = sums.sum(0).unbind(1)
    return grad_x, grad_weight.to(weight.dtype, copy=True), grad_bias.to(bias.dtype, copy=True)


def _parameters(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype that the kernels read, with no number left out in between."""
    if weight.dtype != bias.dtype or weight.dtype not in PARAMETERS:
        weight, bias = weight.float(), bias.float()
    return weight.contiguous(), bias.contiguous()


def _planes(x: Tensor, residual: Tensor | None, layout: torch.memory_format) -> Planes:
    batch, channels, height, width = x.shape
    # PyTorch's memory starts at multiples of 512 bytes, a view into it anywhere.
    aligned = not any(t.data_ptr() % 16 for t in (x, residual) if t is not None)
    return Planes(batch, channels, height * width, NAMES[x.dtype], layout == torch.channels_last, aligned)


def _check(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None) -> None:
    """What the kernels take for granted; the operation's own rule for shapes does not run outside of tracing."""
    torch._check(x.dim() == 4, lambda: f"x must be [B, C, H, W], not {tuple(x.shape)}")
    torch._check(weight.shape == bias.shape == x.shape[1:2], lambda: "weight and bias must be [C]")
    rest = (weight, bias) if residual is None else (weight, bias, residual)
    torch._check(all(t.device == x.device for t in rest), lambda: f"all tensors must be on {x.device}")
    if residual is not None:
        torch._check(residual.shape == x.shape, lambda: "the residual must have the shape of x")


def _capability(device: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
