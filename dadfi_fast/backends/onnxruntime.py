"""ONNX Runtime: float32 on a CPU; float32 or float16 on a GPU through its CUDA provider."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from dadfi_fast.backends import float16
from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.device import cores
from dadfi_fast.errors import BackendMissing
from dadfi_fast.types import Float32

CUDA: Final = "CUDAExecutionProvider"


class OnnxRuntime(Backend):
    """One session; sessions may be run from several threads."""

    name: ClassVar[str] = "onnxruntime"
    devices: ClassVar[Mapping[str, tuple[str, ...]]] = {"cpu": ("f32",), "cuda": ("f32", "f16")}

    def __init__(
        self, generator_file: GeneratorFile, *, device: str = "cpu", threads: int | None = None, precision: str = "auto"
    ) -> None:
        super().__init__(generator_file, device=device, threads=threads, precision=precision)
        if (why := self.missing_on(device)) is not None:
            raise BackendMissing(f"backend onnxruntime cannot run: {why}")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or cores()
        options.log_severity_level = 3  # errors; warnings about the graph are no use to the user
        model: Any = generator_file.onnx
        if self.precision == "f16":
            model = float16.to_float16(generator_file.onnx.read_bytes())
        provider = self._provider()
        if provider[0] == CUDA:
            onnxruntime.preload_dlls()  # CUDA and cuDNN may lie in torch's or NVIDIA's wheels, where no linker looks
        self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        # It goes on with the CPU, and says so only in its log, if the provider's libraries do not load.
        if (runs := self._session.get_providers()[0]) != provider[0]:
            fix = "Run: pip install torch, which brings the CUDA libraries it needs"
            raise BackendMissing(f"onnxruntime could not load {provider[0]} and would run on {runs}. {fix}")

    @classmethod
    def missing(cls) -> str | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime is not installed; run: pip install 'dadfi-fast[onnxruntime]'"
        return None

    @classmethod
    def missing_on(cls, device: str) -> str | None:
        if (why := cls.missing()) is not None or device == "cpu":
            return why
        import onnxruntime

        if CUDA not in onnxruntime.get_available_providers():
            swap = "pip uninstall onnxruntime && pip install onnxruntime-gpu"
            return f"this onnxruntime has no CUDA provider (--device {device}); run: {swap}"
        return None

    def run(self, crops: Float32) -> Float32:
        (delta,) = self._session.run(None, {"crops": crops})
        return delta  # type: ignore[no-any-return]

    def _provider(self) -> tuple[str, dict[str, str]]:
        kind, _, number = self.device.partition(":")
        if kind == "cpu":
            return "CPUExecutionProvider", {}
        # TF32 would round the factors of every product to 10 bits, and still call itself float32.
        return CUDA, {"device_id": number or "0", "use_tf32": "0"}
