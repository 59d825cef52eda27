"""PyTorch: in float32 the reference that every other backend is compared with; on a GPU also a way to run."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from dadfi_fast.backends.cuda_graph import Forward
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.on_device import OnDevice
from dadfi_fast.errors import BackendMissing, WeightsError

if TYPE_CHECKING:
    from torch import Tensor


class Torch(OnDevice):
    """On a CPU float32 unless bf16 is asked for by name: the reference rounds nowhere that it was not told to.

    On a GPU float16 with the statistics of the norms in float32, channels last, replayed as a CUDA graph.
    ``threads`` is PyTorch's setting for the whole process.
    """

    name: ClassVar[str] = "torch"
    devices: ClassVar[Mapping[str, tuple[str, ...]]] = {"cpu": ("f32", "bf16"), "cuda": ("f16", "f32", "bf16")}

    def __init__(
        self, generator_file: GeneratorFile, *, device: str = "cpu", threads: int | None = None, precision: str = "auto"
    ) -> None:
        super().__init__(generator_file, device=device, threads=threads, precision=precision)
        if generator_file.safetensors is None:
            raise WeightsError(
                f"{generator_file.onnx.with_suffix('.safetensors')} is missing; backend torch reads that file"
            )
        if (why := self.missing_on(device)) is not None:
            raise BackendMissing(f"backend torch cannot run: {why}")
        import torch
        from safetensors.torch import load_file

        from dadfi_fast.models.generator import Generator

        if threads:
            torch.set_num_threads(threads)
        self.generator = Generator(generator_file.preset, lim=generator_file.lim, gated=generator_file.gated)
        self.generator.load_state_dict(load_file(generator_file.safetensors))
        self._dtype = torch.float16 if self.precision == "f16" else torch.float32
        self.generator.eval().to(device, self._dtype)
        self._layout = torch.contiguous_format if device == "cpu" else torch.channels_last
        self.generator.to(memory_format=self._layout)  # type: ignore[call-overload]

    @classmethod
    def missing(cls) -> str | None:
        for package in ("torch", "safetensors"):
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed; run: pip install 'dadfi-fast[train]'"
        return None

    @classmethod
    def missing_on(cls, device: str) -> str | None:
        if (why := cls.missing()) is not None or device == "cpu":
            return why
        import torch

        if not torch.cuda.is_available():
            fix = "use --device cpu, or a PyTorch with CUDA (pytorch.org) and NVIDIA's driver"
            return f"PyTorch finds no CUDA device for --device {device}; {fix}"
        return None

    def forward(self, shape: tuple[int, ...]) -> Forward:
        return self._forward  # it keeps nothing between calls

    def _forward(self, crops: Tensor) -> Tensor:
        with self._arithmetic():
            x = crops.to(self._dtype).contiguous(memory_format=self._layout)
            delta: Tensor = self.generator(x)
        return delta.float().contiguous()

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Bfloat16 where it was asked for; on a GPU float32 that is float32 (TF32 rounds factors to 10 bits)."""
        import torch

        kind = self.device.partition(":")[0]
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        with (
            exact if kind == "cuda" else contextlib.nullcontext(),
            torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            yield
