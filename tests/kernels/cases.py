"""The table of cases that every version of the kernel must pass, on a GPU and on the CPU in its stead."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from dadfi_fast.ops.instance_norm_residual import reference

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = (torch.contiguous_format, torch.channels_last)

SHAPES = [
    (1, 8, 1, 2),  # the smallest plane with a variance; less than one vector
    (2, 8, 5, 3),  # smaller than a warp; planes begin in the middle of a vector
    (2, 16, 9, 7),  # odd sizes: first and last vector of a plane are partial
    (1, 8, 16, 16),  # whole vectors only
    (3, 24, 7, 11),  # channels last: the last team has fewer channels than the others
    (1, 40, 33, 19),  # more than a warp, several teams a picture
]
LARGE_SHAPES = [
    (1, 8, 75, 75),  # the generator's smallest planes at 300 px, odd
    (1, 8, 115, 113),  # several splits or blocks, the last one not full
]
#: Channels last, the channels of a pixel filling no whole vector: only the version ``naive`` can do that.
NARROW_SHAPES = [(1, 3, 31, 5), (2, 35, 4, 6)]


def inputs(shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format, seed: int) -> tuple[Tensor, ...]:
    """x, weight, bias, residual; x and the residual in ``layout``."""
    rng = torch.Generator().manual_seed(seed)
    x, residual = (torch.randn(shape, generator=rng).to(dtype).contiguous(memory_format=layout) for _ in range(2))
    weight, bias = (torch.randn(shape[1], generator=rng).to(dtype) for _ in range(2))
    return x, weight, bias, residual


def _large_mean(x: Tensor) -> Tensor:
    return x * 0.1 + 1000  # in float16 the spacing there is 0.5: what varies is the last digit


def _constant(x: Tensor) -> Tensor:
    return torch.full_like(x, 3.14159)


def _large_constant(x: Tensor) -> Tensor:
    return torch.full_like(x, min(torch.finfo(x.dtype).max, 1.2345e9))  # its mean is off by much more than eps


def _denormal(x: Tensor) -> Tensor:
    return x * (torch.finfo(x.dtype).tiny / 4)


def _extremes(x: Tensor) -> Tensor:
    # Beyond 1e19 the square of a distance is no float32: that is so in every implementation that sums in float32.
    return torch.where(x > 0, 1.0, -1.0).to(x.dtype) * min(torch.finfo(x.dtype).max, 1e18)


def _outlier_first(x: Tensor) -> Tensor:
    out = x.clone()
    out[..., 0, 0] = 3e4
    return out


def _outlier_last(x: Tensor) -> Tensor:
    out = x.clone()
    out[..., -1, -1] = -3e4
    return out


def _tilted(x: Tensor) -> Tensor:
    rows = torch.linspace(-200, 200, x.shape[2], dtype=x.dtype)
    return x + rows[:, None]  # the first rows say nothing of the mean


#: Values that are hard on statistics, made of a normal distribution.
EXTREMES: dict[str, Callable[[Tensor], Tensor]] = {
    "large mean, small variance": _large_mean,
    "constant": _constant,
    "constant, large": _large_constant,
    "denormal": _denormal,
    "extremes of the dtype": _extremes,
    "outlier first": _outlier_first,
    "outlier last": _outlier_last,
    "tilted": _tilted,
}


def largest_error(out: Tensor, truth: Tensor) -> float:
    """Of all entries; NaN counts as infinite."""
    return (out.double() - truth).abs().nan_to_num(nan=float("inf")).max().item()


def truth_and_bound(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, relu: bool
) -> tuple[Tensor, float]:
    """The operation in float64, and the error that is allowed: twice PyTorch's own in the same dtype.

    One unit in the last place of the largest entry is added, for the cases in which PyTorch happens to be exact.
    """
    doubles = [None if t is None else t.double() for t in (x, weight, bias, residual)]
    truth = reference(*doubles, relu=relu)
    out = F.instance_norm(x, weight=weight.to(x.dtype), bias=bias.to(x.dtype))
    out = out.relu() if relu else out
    out = out if residual is None else out + residual
    unit = torch.finfo(x.dtype).eps * max(truth.abs().max().item(), torch.finfo(x.dtype).tiny)
    return truth, 2 * largest_error(out, truth) + unit
