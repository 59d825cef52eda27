"""Whether the kernels compute what they should on the GPU that is there: all versions, dtypes, layouts, and gradients.

    python -m dadfi_fast.kernels.selfcheck cuda:0

prints the verdict as JSON. It is run in a process of its own (`dadfi_fast.kernels.default`): a kernel that touches
memory that is not its own takes every later call of that process with it.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from dadfi_fast.errors import UsageError
from dadfi_fast.kernels import binding
from dadfi_fast.kernels.binding import NAMES, fused, fused_gradients
from dadfi_fast.kernels.choice import VERSIONS
from dadfi_fast.kernels.machine import Machine
from dadfi_fast.ops.instance_norm_residual import gradients, reference

Shape: TypeAlias = tuple[int, int, int, int]
#: Odd planes that begin in the middle of a vector; the generator's planes at 256 px; planes for clusters and splits.
SHAPES: Final[tuple[Shape, ...]] = ((2, 24, 9, 7), (2, 32, 64, 64), (3, 8, 113, 115), (1, 8, 256, 256))
LAYOUTS: Final = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


@dataclass(frozen=True)
class Case:
    """One call."""

    shape: Shape
    dtype: torch.dtype
    layout: str
    relu: bool
    residual: bool

    def inputs(self, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, weight, bias and residual: planes with a mean and a scale of their own."""
        random = torch.Generator().manual_seed(hash(self.shape) % 1000 + self.relu)
        b, c = self.shape[:2]
        scale, mean = (torch.rand(b, c, 1, 1, generator=random) * 4 + 0.1 for _ in range(2))
        x = torch.randn(self.shape, generator=random) * scale + mean
        planes = (t.to(device, self.dtype) for t in (x, torch.randn(self.shape, generator=random)))
        x, residual = (t.contiguous(memory_format=LAYOUTS[self.layout]) for t in planes)
        weight, bias = (torch.randn(c, generator=random).to(device, self.dtype) for _ in range(2))
        return x, weight, bias, residual

    def __str__(self) -> str:
        more = " ReLU" * self.relu + " residual" * self.residual
        return f"{NAMES[self.dtype]} {self.layout} {'x'.join(map(str, self.shape))}{more}"


def cases(shapes: Sequence[Shape] = SHAPES) -> Iterator[Case]:
    """All that are checked."""
    for shape, dtype, layout in itertools.product(shapes, NAMES, LAYOUTS):
        for relu, residual in ((True, False), (False, True)):  # as the generator calls it
            yield Case(shape, dtype, layout, relu, residual)


def check(device: str, *, on: Machine | None = None, shapes: Sequence[Shape] = SHAPES) -> str | None:
    """Compare every version with the plain one in float64; what is wrong, or None.

    Args:
        device: as PyTorch names it.
        on: what launches the kernels; the GPU if None.
        shapes: [B, C, H, W] each.

    Raises:
        BackendMissing: the kernels cannot be compiled or loaded.
    """
    for case in cases(shapes):
        given = case.inputs(device)
        for version in VERSIONS:
            try:
                why = _forward(case, given, version, on)
            except UsageError:  # a version that these planes or this GPU cannot have
                continue
            if why is not None:
                return f"version {version}, {case}: {why}"
        if not case.residual and (why := _gradients(case, given, on)) is not None:
            return f"gradients, {case}: {why}"
    return None


def _forward(case: Case, given: Sequence[Tensor], version: str, on: Machine | None) -> str | None:
    x, weight, bias, residual = given
    more = residual if case.residual else None
    _poison(x)
    out, again = (fused(x, weight, bias, more, case.relu, version=version, on=on) for _ in range(2))
    wide = [None if t is None else t.double() for t in (x, weight, bias, more)]
    truth = reference(*wide, relu=case.relu)  # type: ignore[arg-type]
    plain = F.instance_norm(x, weight=weight, bias=bias)
    plain = plain.relu() if case.relu else plain
    plain = plain if more is None else plain + more
    return _compare(out, plain, truth) or _same(out, again)


def _gradients(case: Case, given: Sequence[Tensor], on: Machine | None) -> str | None:
    x, weight, bias, grad = given
    _poison(x)
    results, again = (fused_gradients(grad, x, weight, bias, case.relu, on=on) for _ in range(2))
    leaves = [t.double().requires_grad_() for t in (x, weight, bias)]
    truths = torch.autograd.grad(reference(*leaves, relu=case.relu), leaves, grad.double())
    plains = gradients(grad, x, weight, bias, relu=case.relu)
    for mine, plain, truth, repeated in zip(results, plains, truths, again, strict=True):
        if (why := _compare(mine, plain, truth) or _same(mine, repeated)) is not None:
            return why
    return None


def _poison(x: Tensor) -> None:
    """NaN in the memory that the next result of this size is likely to get: what is not written shows."""
    torch.full_like(x, float("nan"))


def _compare(out: Tensor, plain: Tensor, truth: Tensor) -> str | None:
    """At most twice as far off as PyTorch's own in the same dtype, and four units of the largest entry."""
    off, plain_off = ((t.double() - truth).abs().nan_to_num(nan=float("inf")).max().item() for t in (out, plain))
    unit = torch.finfo(out.dtype).eps * max(truth.abs().max().item(), torch.finfo(out.dtype).tiny)
    return None if off <= 2 * plain_off + 4 * unit else f"off by {off:.3g}, PyTorch's own by {plain_off:.3g}"


def _same(out: Tensor, again: Tensor) -> str | None:
    return None if torch.equal(out, again) else "two runs give different bits"


def main(arguments: Sequence[str]) -> None:
    """Print the verdict on the device that is named; the first GPU if none is."""
    print(json.dumps({"refused": binding.missing() or check(*(arguments or ["cuda:0"])[:1])}))


if __name__ == "__main__":
    main(sys.argv[1:])
