"""OpenVINO: the default on a CPU; bfloat16 where the CPU multiplies it in hardware."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.openvino_core import core
from dadfi_fast.backends.space_to_depth import pack
from dadfi_fast.device import bf16_runs_well, cores
from dadfi_fast.ops import node
from dadfi_fast.types import Float32


class OpenVINO(Backend):
    """One compiled model a crop size and batch size: static shapes run up to twice as fast as dynamic ones."""

    name: ClassVar[str] = "openvino"
    devices: ClassVar[Mapping[str, tuple[str, ...]]] = {"cpu": ("f32", "bf16")}

    def __init__(
        self, generator_file: GeneratorFile, *, device: str = "cpu", threads: int | None = None, precision: str = "auto"
    ) -> None:
        super().__init__(generator_file, device=device, threads=threads, precision=precision)
        self._core = core()
        self._model = self._core.read_model(_readable(generator_file.onnx))
        if self.precision == "bf16":  # in float32 it gains little
            pack(self._model)
        self._settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": threads or cores(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._requests: dict[tuple[int, ...], Any] = {}
        self._lock = threading.Lock()

    @classmethod
    def preferred(cls, kind: str) -> str:
        return "bf16" if bf16_runs_well() else "f32"

    @classmethod
    def missing(cls) -> str | None:
        if importlib.util.find_spec("openvino") is None:
            return "openvino is not installed; run: pip install openvino"
        return None

    def run(self, crops: Float32) -> Float32:
        with self._lock:
            request = self._request(crops.shape)
            request.infer([crops], share_inputs=True)
            # The output buffer belongs to the request and is written again by the next call.
            return np.array(request.get_output_tensor().data, dtype=np.float32)

    def _request(self, shape: tuple[int, ...]):  # type: ignore[no-untyped-def]
        if shape not in self._requests:
            model = self._model.clone()
            model.reshape(list(shape))
            compiled = self._core.compile_model(model, "CPU", self._settings)
            self._requests[shape] = compiled.create_infer_request()
        return self._requests[shape]


def _readable(path: Path) -> Path | bytes:
    """The file, or what OpenVINO can read of it: it does not look into the ONNX functions that fused nodes have."""
    model = path.read_bytes() if path.suffix == ".onnx" else b""
    return node.plain(model) if node.used(model) else path
