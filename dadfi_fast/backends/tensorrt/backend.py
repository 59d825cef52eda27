"""TensorRT and TensorRT for RTX: engines built for the GPU that is there, run from fixed memory.

Written against NVIDIA's documented interface. Building and serialising have run with TensorRT for RTX, which needs no
GPU for it; nothing here has run on a GPU yet (docs/backends.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from dadfi_fast.backends import cuda, float16
from dadfi_fast.backends.cuda_graph import Forward
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.on_device import OnDevice, stream_handle
from dadfi_fast.backends.tensorrt import build, cache
from dadfi_fast.backends.tensorrt.runtime_cache import RuntimeCache
from dadfi_fast.backends.torch import Torch
from dadfi_fast.errors import BackendMissing, DadfiError, UsageError
from dadfi_fast.types import Float32

if TYPE_CHECKING:
    from torch import Tensor


class TensorRT(OnDevice):
    """Contexts on one engine: each has its shape, its memory, and (TensorRT) its CUDA graph.

    The first run with a generator builds its engine, which takes from seconds to minutes; later runs find it.
    """

    name: ClassVar[str] = "tensorrt"
    devices: ClassVar[Mapping[str, tuple[str, ...]]] = {"cuda": ("f16", "f32")}
    flavour: ClassVar[build.Flavour] = build.TENSORRT

    def __init__(
        self, generator_file: GeneratorFile, *, device: str = "cpu", threads: int | None = None, precision: str = "auto"
    ) -> None:
        super().__init__(generator_file, device=device, threads=threads, precision=precision)
        if (why := self.missing_on(device)) is not None:
            raise BackendMissing(f"backend {self.name} cannot run: {why}")
        with self._current():  # a build is for the current GPU
            data, self._file = cache.obtain(self.flavour, generator_file, precision=self.precision, device=device)
            self._engine = build.deserialise(self.flavour, data)
            self._config = self._settings()

    @classmethod
    def missing(cls) -> str | None:
        return cls.missing_on("cuda")

    @classmethod
    def missing_on(cls, device: str) -> str | None:
        if not cls.flavour.installed:
            return cls.flavour.missing()
        # The driver is asked before anything large is loaded.
        return cuda.missing(device) or cls.flavour.missing() or float16.missing() or Torch.missing_on(device)

    def run(self, crops: Float32) -> Float32:
        most = build.PROFILES[-1].batch[2]
        if len(crops) <= most:
            return super().run(crops)
        import numpy as np

        parts = [super(TensorRT, self).run(crops[at : at + most]) for at in range(0, len(crops), most)]
        return np.concatenate(parts)

    def forward(self, shape: tuple[int, ...]) -> Forward:
        with self._current():
            return _Context(self._engine, shape, self.device, self._config, self._ran)

    def _trt(self) -> Any:
        return self.flavour.load()

    def _settings(self) -> Any:
        """How contexts are to run: their memory is given to them, as much as their shape needs."""
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self._trt().ExecutionContextAllocationStrategy.USER_MANAGED)
        return config

    def _ran(self) -> None:
        """Called when a context has run for the first time."""

    def _current(self) -> Any:
        import torch

        return torch.cuda.device(self.device) if self.device != "cpu" else contextlib.nullcontext()


class TensorRTRTX(TensorRT):
    """TensorRT for RTX (GeForce and workstation cards): compiles kernels as it meets shapes, keeps graphs itself.

    What it compiles is kept beside the engine (`RuntimeCache`), for the next process.
    """

    name: ClassVar[str] = "tensorrt-rtx"
    flavour: ClassVar[build.Flavour] = build.TENSORRT_RTX
    graphs: ClassVar[bool] = False

    @classmethod
    def missing_on(cls, device: str) -> str | None:
        if (why := super().missing_on(device)) is not None:
            return why
        target, known = cuda.gpu(device).architecture, build.architectures(cls.flavour)
        if target not in known:
            return f"TensorRT for RTX knows {', '.join(known)}, and this GPU is {target}; use --backend tensorrt"
        return None

    def _settings(self) -> Any:
        module, config = self._trt(), super()._settings()
        config.cuda_graph_strategy = module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # A runner has one shape for good: better to compile for it at once than to begin with general kernels.
        config.dynamic_shapes_kernel_specialization_strategy = module.DynamicShapesKernelSpecializationStrategy.EAGER
        self.compiled = RuntimeCache(config, self._file, cuda.gpu(self.device))
        return config

    def _ran(self) -> None:
        self.compiled.keep()


class _Context:
    """One execution context, bound to a shape; called with crops on the device.

    Args:
        ran: called once, after the first run: what had to be compiled for the shape is compiled then.
    """

    def __init__(
        self, engine: Any, shape: tuple[int, ...], device: str, settings: Any, ran: Callable[[], None]
    ) -> None:
        import torch

        self._device = device
        self._ran: Callable[[], None] | None = ran
        self._context = engine.create_execution_context(settings)
        if self._context is None:
            raise DadfiError("cannot create an execution context. Check whether the GPU's memory is full.")
        self._context.set_optimization_profile_async(_profile(shape), stream_handle(device))
        if not self._context.set_input_shape(build.CROPS, shape):
            raise DadfiError(f"the engine does not accept crops of {shape}")
        size = self._context.update_device_memory_size_for_shapes()
        self._scratch = torch.empty(max(1, size), dtype=torch.uint8, device=device)
        self._context.set_device_memory(self._scratch.data_ptr(), size)
        if device != "cpu":  # the profile was set on this stream, and other streams will run the context
            torch.cuda.current_stream(device).synchronize()

    def __call__(self, crops: Tensor) -> Tensor:
        import torch

        delta = torch.empty_like(crops)
        self._context.set_tensor_address(build.CROPS, crops.data_ptr())
        self._context.set_tensor_address(build.DELTA, delta.data_ptr())
        if not self._context.execute_async_v3(stream_handle(self._device)):
            raise DadfiError("cannot run the engine. The driver's log may say why.")
        if self._ran is not None:
            ran, self._ran = self._ran, None
            ran()
        return delta


def _profile(shape: tuple[int, ...]) -> int:
    """The first profile that takes ``shape``: the narrowest comes first."""
    for index, profile in enumerate(build.PROFILES):
        if profile.holds(shape):
            return index
    small, _, large = build.PROFILES[-1].size
    raise UsageError(f"crops of {shape[2]} x {shape[3]} px; engines accept {small} to {large} px per side")
