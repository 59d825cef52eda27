"""Backends that PyTorch lends memory and streams: crops may come from the CPU, or lie on the device already."""

from __future__ import annotations

import contextlib
import threading
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from dadfi_fast.backends.base import MULTIPLE, Backend
from dadfi_fast.backends.cuda_graph import Forward, GraphRunner
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.types import Float32

if TYPE_CHECKING:
    from torch import Tensor


def stream_handle(device: str) -> int:
    """The current stream of ``device``, as CUDA's interfaces take it; 0 on a CPU, which has none."""
    import torch

    return 0 if device == "cpu" else torch.cuda.current_stream(device).cuda_stream


class OnDevice(Backend):
    """Keeps a few `GraphRunner`s for every shape that it meets: as many as threads call it at once."""

    #: Whether what `forward` enqueues can be captured in a CUDA graph.
    graphs: ClassVar[bool] = True

    def __init__(
        self, generator_file: GeneratorFile, *, device: str = "cpu", threads: int | None = None, precision: str = "auto"
    ) -> None:
        super().__init__(generator_file, device=device, threads=threads, precision=precision)
        self._idle: dict[tuple[int, ...], list[GraphRunner]] = defaultdict(list)
        self._forwards: dict[tuple[tuple[int, ...], int], Forward] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def forward(self, shape: tuple[int, ...]) -> Forward:
        """What runs the generator on crops of one shape; each one that is asked for may run beside the others."""

    def graph_runner(self, shape: tuple[int, ...]) -> GraphRunner:
        """A place of one's own for batches of one shape [B, 3, H, W]; sides are multiples of `MULTIPLE`.

        Whoever makes the crops on the device writes them to `GraphRunner.crops`: then nothing is ever copied.
        """
        return GraphRunner(self.forward(shape), shape, self.device, graph=self.graphs)

    def resident(self, crops: Any) -> Tensor:
        """Perturb crops that are on the device, wherever they lie there, without a copy.

        Args:
            crops: [B, 3, H, W] float32 in [-1, 1], contiguous, on this backend's device, sides multiples of
                `MULTIPLE`: whatever has ``__dlpack__`` (a tensor of PyTorch, CuPy, DALI, JAX).

        Returns:
            [B, 3, H, W] float32 on the device, every entry within [-lim, lim], ready for the caller's stream. That it
            is finite is not looked at, since that would make the CPU wait.
        """
        import torch
        from torch.utils.dlpack import from_dlpack

        x = from_dlpack(crops)
        assert x.dtype == torch.float32 and x.ndim == 4 and x.is_contiguous(), "crops must be [B, 3, H, W] float32"
        assert x.device.type == self.device.partition(":")[0], f"crops lie on {x.device}, not on {self.device}"
        assert not (x.shape[2] % MULTIPLE or x.shape[3] % MULTIPLE), f"sides must be multiples of {MULTIPLE}"
        with self._lock, torch.inference_mode():
            return self._ordered(tuple(x.shape))(x).clamp(-self.lim, self.lim)

    def _ordered(self, shape: tuple[int, ...]) -> Forward:
        """The one for this shape and the current stream: what is enqueued there runs in order, never side by side."""
        key = (shape, stream_handle(self.device))
        if key not in self._forwards:
            self._forwards[key] = self.forward(shape)
        return self._forwards[key]

    def run(self, crops: Float32) -> Float32:
        if self.device == "cpu":
            return self._at_once(crops)
        with self._taken(crops.shape) as runner:
            return runner(crops)

    def _at_once(self, crops: Float32) -> Float32:
        import torch

        with torch.inference_mode():
            delta: Float32 = self._ordered(crops.shape)(torch.from_numpy(crops)).numpy()
            return delta

    @contextlib.contextmanager
    def _taken(self, shape: tuple[int, ...]) -> Iterator[GraphRunner]:
        with self._lock:  # also while one is made: captures do not run side by side
            runner = self._idle[shape].pop() if self._idle[shape] else self.graph_runner(shape)
        try:
            yield runner
        finally:
            self._idle[shape].append(runner)
