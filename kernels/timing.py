"""How long each version of the kernel takes on a GPU: CUDA graphs between CUDA events, medians of many replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import TypeAlias

import torch
from torch import Tensor

from dadfi_fast.errors import UsageError
from dadfi_fast.kernels.binding import fused
from dadfi_fast.kernels.choice import VERSIONS
from dadfi_fast.ops.instance_norm_residual import EPS

#: x, weight, bias, residual (or None).
Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor | None]
WARM_UPS = 3


@dataclass(frozen=True)
class Timing:
    """Microseconds of one call on the GPU."""

    version: str
    p20: float
    p50: float
    p80: float
    n: int  # replays
    bytes_moved: int  # that the operation must move: x and residual in, the result out
    gigabytes_per_second: float  # at the median


def minimum_bytes(x: Tensor, residual: Tensor | None) -> int:
    """Bytes that any implementation moves: ``x`` and the residual are read once, the result is written once."""
    return x.numel() * x.element_size() * (2 if residual is None else 3)


def time_versions(
    inputs: Sequence[Inputs], *, relu: bool = True, eps: float = EPS, replays: int = 100
) -> dict[str, Timing | str]:
    """Time all versions on the same tensors.

    Args:
        inputs: sets of tensors of one shape, dtype and layout on one CUDA device, used in turn. Together they should
            be larger than the GPU's cache, else it is the cache that is measured.
        relu: as in `fused`.
        eps: as in `fused`.
        replays: of a graph that runs every set once.

    Returns:
        By version: its timing, or why it cannot run with these tensors on this GPU. ``reference`` is PyTorch's own body
        of the operation.
    """
    rows: dict[str, Timing | str] = {}
    for version in VERSIONS:
        try:
            rows[version] = _time(version, inputs, _caller(version, relu, eps), replays)
        except UsageError as error:
            rows[version] = str(error)
    rows["reference"] = _time("reference", inputs, _pytorch(relu, eps), replays)
    return rows


def _caller(version: str, relu: bool, eps: float) -> Callable[[Inputs], Tensor]:
    return lambda given: fused(*given, relu, eps, version=version)


def _pytorch(relu: bool, eps: float) -> Callable[[Inputs], Tensor]:
    def run(given: Inputs) -> Tensor:
        x, weight, bias, residual = given
        out = torch.nn.functional.instance_norm(x, weight=weight.to(x.dtype), bias=bias.to(x.dtype), eps=eps)
        out = out.relu_() if relu else out
        return out if residual is None else out + residual

    return run


def _time(version: str, inputs: Sequence[Inputs], call: Callable[[Inputs], Tensor], replays: int) -> Timing:
    device = inputs[0][0].device
    with torch.cuda.device(device), torch.inference_mode():
        graph = _capture(inputs, call)
        times = sorted(_replay(graph, len(inputs)) for _ in range(replays))
    fifths = quantiles(times, n=10)
    p20, p50, p80 = fifths[1], fifths[4], fifths[7]
    moved = minimum_bytes(inputs[0][0], inputs[0][3])
    return Timing(version, p20, p50, p80, replays, moved, moved / p50 / 1e3)


def _capture(inputs: Sequence[Inputs], call: Callable[[Inputs], Tensor]) -> torch.cuda.CUDAGraph:
    """A graph of one call for each set; the calls before it compile and load what is needed."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            for given in inputs:
                call(given)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for given in inputs:
            call(given)
    return graph


def _replay(graph: torch.cuda.CUDAGraph, calls: int) -> float:
    """Microseconds a call."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    milliseconds: float = start.elapsed_time(end)
    return milliseconds * 1e3 / calls
