"""Runs an ONNX model on the CPU: OpenVINO, or ONNX Runtime where OpenVINO is missing."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from dadfi_fast.backends.openvino_core import core
from dadfi_fast.device import bf16_runs_well
from dadfi_fast.errors import BackendMissing, WeightsError
from dadfi_fast.types import Float32


class Session(ABC):
    """A loaded model with one output."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, inputs: Mapping[str, Float32]) -> Float32:
        """The model's output for its named inputs."""


class _OpenVINO(Session):
    name = "openvino"

    def __init__(self, path: Path, threads: int | None, *, half: bool) -> None:
        precision = "bf16" if half and bf16_runs_well() else "f32"
        options: dict[str, object] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        self._model = core().compile_model(str(path), "CPU", options)

    def __call__(self, inputs: Mapping[str, Float32]) -> Float32:
        output: Float32 = self._model(dict(inputs), share_inputs=True, share_outputs=False)[0]
        return output


class _OnnxRuntime(Session):
    name = "onnxruntime"

    def __init__(self, path: Path, threads: int | None, *, half: bool) -> None:
        import onnxruntime as ort  # float32, whatever ``half`` says

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, inputs: Mapping[str, Float32]) -> Float32:
        output: Float32 = self._session.run(None, dict(inputs))[0]
        return output


_SESSIONS: tuple[type[_OpenVINO | _OnnxRuntime], ...] = (_OpenVINO, _OnnxRuntime)


def load(path: Path, *, threads: int | None = None, half: bool = False) -> Session:
    """Load the model in ``path``.

    Args:
        path: an ONNX file.
        threads: CPU threads; all that there are where None.
        half: whether it may run in bfloat16 where the CPU has it, in half the time. Figures that are reported should
            not depend on the CPU.

    Raises:
        BackendMissing: neither runtime is installed.
        WeightsError: the file is not a model that the runtime reads.
    """
    for runtime in _SESSIONS:
        if importlib.util.find_spec(runtime.name) is None:
            continue
        try:
            return runtime(path, threads, half=half)
        except Exception as error:  # the runtimes share no error class
            raise WeightsError(f"{runtime.name} cannot load {path}: {error}") from error
    raise BackendMissing("deepfake models need OpenVINO or ONNX Runtime. Run: pip install openvino")
