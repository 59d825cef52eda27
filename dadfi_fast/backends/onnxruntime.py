"""ONNX Runtime: float32 on a processor, or on a GPU through its CUDA provider."""

from __future__ import annotations

import importlib.util
from typing import ClassVar

from dadfi_fast.backends.artifact import Artifact
from dadfi_fast.backends.base import Backend
from dadfi_fast.device import cores
from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.types import Float32


class OnnxRuntime(Backend):
    """One session; sessions may be run from several threads."""

    name: ClassVar[str] = "onnxruntime"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def __init__(
        self, artifact: Artifact, *, device: str = "cpu", threads: int | None = None, precision: str = "auto"
    ) -> None:
        super().__init__(artifact, device=device, threads=threads, precision=precision)
        if precision == "bf16":
            raise UsageError("backend onnxruntime runs the generator in f32 only; use --backend openvino for bf16")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or cores()
        options.log_severity_level = 3  # errors; warnings about the graph are no use to the user
        self._session = onnxruntime.InferenceSession(artifact.onnx, options, providers=self._providers(onnxruntime))
        self.describe = f"onnxruntime-{device} f32"

    @classmethod
    def missing(cls) -> str | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime is not installed; run: pip install 'dadfi-fast[onnxruntime]'"
        return None

    def run(self, crops: Float32) -> Float32:
        (delta,) = self._session.run(None, {"crops": crops})
        return delta  # type: ignore[no-any-return]

    def _providers(self, onnxruntime) -> list[tuple[str, dict[str, str]]]:  # type: ignore[no-untyped-def]
        kind, _, number = self.device.partition(":")
        if kind == "cpu":
            return [("CPUExecutionProvider", {})]
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise BackendMissing(
                f"this onnxruntime has no CUDA provider (--device {self.device}); run: pip install 'dadfi-fast[gpu]'"
            )
        return [("CUDAExecutionProvider", {"device_id": number or "0"})]
