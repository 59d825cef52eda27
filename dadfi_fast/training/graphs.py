"""CUDA graphs of the parts of a training step: thousands of small launches become one.

A part is a function of tensors of fixed shapes that draws nothing, asks the device nothing and gives a dict of tensors;
networks and optimizers that it changes are its own affair. The first calls run as they are (they allocate optimizer
states and let libraries choose kernels), the next is captured, all others replay it: "Whole-network capture" in
PyTorch's notes on CUDA. **This has not run on a GPU yet.**
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

Part: TypeAlias = Callable[..., dict[str, Tensor]]
#: Calls before the capture.
WARM_UP: Final = 3


class Graphs:
    """Runs parts of a step, as CUDA graphs if ``enabled``.

    A part that cannot be captured is reported on stderr, and from then on every part runs as it is: a capture executes
    nothing, so no step is lost or done twice.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._room: _Room | None = None
        self._calls: dict[Any, int] = {}
        self._captured: dict[Any, _Captured] = {}

    def __call__(self, part: Part, *inputs: Tensor) -> dict[str, Tensor]:
        """``part(*inputs)``; the results are the caller's own."""
        if not self.enabled:
            return part(*inputs)
        key = (part.__name__, *(tensor.shape for tensor in inputs))
        self._calls[key] = self._calls.get(key, 0) + 1
        self._room = self._room or _Room()
        if self._calls[key] <= WARM_UP:
            return self._room.warm_up(part, inputs)
        if key not in self._captured:
            try:
                self._captured[key] = _Captured(part, inputs, self._room)
            except Exception as error:  # CUDA's errors, memory that runs out, what torch forbids in a capture
                self.enabled = False
                self._captured.clear()
                reason = str(error).partition("\n")[0].rstrip(".")
                print(f"cannot capture {part.__name__} as a CUDA graph: {reason}. Going on without.", file=sys.stderr)
                return part(*inputs)
        return self._captured[key](inputs)


class _Room:
    """What the graphs of one training share: a stream to warm up on, and memory.

    They may share memory because they never run at the same time, and nothing that one leaves there is read after
    another has run: results are copied out, gradients are made anew.
    """

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()
        self._side = torch.cuda.Stream()

    def warm_up(self, part: Part, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Run ``part`` on another stream than the one that everything else is in (PyTorch's notes on CUDA)."""
        main = torch.cuda.current_stream()
        self._side.wait_stream(main)
        with torch.cuda.stream(self._side):
            results = part(*inputs)
        main.wait_stream(self._side)
        return results


class _Captured:
    """A graph with the memory that its inputs and results lie in."""

    def __init__(self, part: Part, inputs: tuple[Tensor, ...], room: _Room) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        self._graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # what the warm-up took; the graph has memory of its own
        with torch.cuda.graph(self._graph, pool=room.pool):
            self._results = part(*self._inputs)

    def __call__(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return {name: value.clone() for name, value in self._results.items()}
