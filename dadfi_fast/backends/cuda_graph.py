"""One shape's own place on a device: fixed memory, a stream of its own, and the CUDA graph that runs there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from dadfi_fast.types import Float32

if TYPE_CHECKING:
    from torch import Tensor

#: Enqueues the generator on the current stream: crops [B, 3, H, W] float32, contiguous, on the device; the result too.
Forward: TypeAlias = "Callable[[Tensor], Tensor]"

#: Calls before the capture: what is compiled, chosen or allocated at first must not end up in the graph.
WARM_UP: Final = 3


class GraphRunner:
    """Runs batches of one shape, one at a time; two runners may run side by side.

    Args:
        forward: what to run; it is this runner's own.
        shape: [B, 3, H, W].
        device: as PyTorch names it. On ``cpu`` there is neither stream nor graph, and the rest is the same.
        graph: whether ``forward`` may be captured.
    """

    def __init__(self, forward: Forward, shape: tuple[int, ...], device: str, *, graph: bool) -> None:
        import torch

        self._forward = forward
        cuda = torch.device(device).type == "cuda"
        self._stream = torch.cuda.Stream(device) if cuda else None
        self._graph: Any = None
        #: Where the crops go: write here and call `launch`, and nothing is copied.
        self.crops = torch.zeros(shape, device=device)
        # Copies between pinned memory and the device run beside the work of other streams.
        self._inbox, self._outbox = (torch.empty(shape, pin_memory=cuda) for _ in range(2))
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(device))  # where the memory above is being filled
        with self._working():
            for _ in range(WARM_UP):
                self.delta: Tensor = forward(self.crops)
        if self._stream is not None:
            self._stream.synchronize()
            if graph:
                self._capture()

    def __call__(self, crops: Float32) -> Float32:
        """The perturbation for ``crops`` [B, 3, H, W] in the CPU's memory; waits for it."""
        np.copyto(self._inbox.numpy(), crops)
        with self._working():
            self.crops.copy_(self._inbox, non_blocking=True)
            self._enqueue()
            self._outbox.copy_(self.delta, non_blocking=True)
        if self._stream is not None:
            self._stream.synchronize()
        return self._outbox.numpy().copy()

    def launch(self) -> Tensor:
        """Run on what is in `crops`, after all that the caller's stream has been given so far.

        Returns:
            `delta`, ready for what the caller's stream is given from now on, until the next call.
        """
        import torch

        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self.crops.device))
        with self._working():
            self._enqueue()
        if self._stream is not None:
            torch.cuda.current_stream(self.crops.device).wait_stream(self._stream)
        return self.delta

    def _enqueue(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        else:
            self.delta = self._forward(self.crops)

    def _capture(self) -> None:
        import torch

        self._graph = torch.cuda.CUDAGraph()
        # Other threads go on with their own work on the device meanwhile.
        with (
            torch.inference_mode(),
            torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            self.delta = self._forward(self.crops)

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        import torch

        with torch.inference_mode(), torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
            yield
