"""How long the bodies of the operation take on a GPU: CUDA graphs between events, medians of many replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import TypeAlias

import torch
from torch import Tensor

from dadfi_fast.kernels.binding import fused
from dadfi_fast.kernels.choice import VERSIONS
from dadfi_fast.ops.instance_norm_residual import EPS

#: x, weight, bias, residual (or None).
Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor | None]
#: Called with one of `Inputs` and whether there is a ReLU.
Body: TypeAlias = Callable[[Inputs, bool], Tensor]
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


def bodies() -> dict[str, Body]:
    """The versions of the kernel, and what PyTorch has for the operation, by the name that rows have.

    ``reference`` is PyTorch's instance norm, which is its batch norm; ``group norm``, with a group a channel, has
    kernels of its own; ``torch.compile`` makes one of norm, ReLU and addition.
    """
    compiled = torch.compile(_instance_norm, fullgraph=True, dynamic=False)
    rivals: dict[str, Body] = {"reference": _instance_norm, "group norm": _group_norm, "torch.compile": compiled}
    return {version: _kernel(version) for version in VERSIONS} | rivals


def time_body(name: str, body: Body, inputs: Sequence[Inputs], relu: bool, replays: int = 100) -> Timing:
    """Time one body.

    Args:
        name: what `Timing` calls it.
        body: found right before.
        inputs: sets of tensors of one shape, dtype and layout on one CUDA device, used in turn. Together they should
            be larger than the GPU's cache, else it is the cache that is measured.
        relu: as in `fused`.
        replays: of a graph that runs every set once.
    """
    return _time(name, inputs, lambda given: body(given, relu), replays)


def _kernel(version: str) -> Body:
    return lambda given, relu: fused(*given, relu, version=version)


def _instance_norm(given: Inputs, relu: bool) -> Tensor:
    x, weight, bias, residual = given
    out = torch.nn.functional.instance_norm(x, weight=weight.to(x.dtype), bias=bias.to(x.dtype), eps=EPS)
    return _rest(out, residual, relu)


def _group_norm(given: Inputs, relu: bool) -> Tensor:
    x, weight, bias, residual = given
    out = torch.nn.functional.group_norm(x, x.shape[1], weight.to(x.dtype), bias.to(x.dtype), EPS)
    return _rest(out, residual, relu)


def _rest(out: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    out = out.relu_() if relu else out
    return out if residual is None else out + residual


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
