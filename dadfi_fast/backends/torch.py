"""PyTorch eager: the reference that every other backend is compared with."""

from __future__ import annotations

import importlib.util
from typing import ClassVar

from dadfi_fast.backends.artifact import Artifact
from dadfi_fast.backends.base import Backend
from dadfi_fast.errors import BackendMissing, WeightsError
from dadfi_fast.types import Float32


class Torch(Backend):
    """Float32 unless bf16 is asked for by name: the reference rounds nowhere that it was not told to.

    ``threads`` is PyTorch's setting for the whole process.
    """

    name: ClassVar[str] = "torch"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def __init__(
        self, artifact: Artifact, *, device: str = "cpu", threads: int | None = None, precision: str = "auto"
    ) -> None:
        super().__init__(artifact, device=device, threads=threads, precision=precision)
        import torch
        from safetensors.torch import load_file

        from dadfi_fast.models.generator import Generator

        if artifact.safetensors is None:
            raise WeightsError(f"{artifact.onnx.with_suffix('.safetensors')} is missing; backend torch reads that file")
        if device != "cpu" and not torch.cuda.is_available():
            raise BackendMissing(f"PyTorch finds no CUDA device for --device {device}; use --device cpu")
        if threads:
            torch.set_num_threads(threads)
        self.precision = "f32" if precision == "auto" else precision
        self.describe = f"torch-{device} {self.precision}"
        self._generator = Generator(artifact.preset, lim=artifact.lim)
        self._generator.load_state_dict(load_file(artifact.safetensors))
        self._generator.to(device).eval()

    @classmethod
    def missing(cls) -> str | None:
        for package in ("torch", "safetensors"):
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed; run: pip install 'dadfi-fast[train]'"
        return None

    def run(self, crops: Float32) -> Float32:
        import torch

        kind = self.device.partition(":")[0]
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"):
            delta = self._generator(torch.from_numpy(crops).to(self.device))
        return delta.float().cpu().numpy()  # type: ignore[no-any-return]
