"""YuNet from the user's ONNX file: run by OpenVINO where it is installed, else by OpenCV, with the same boxes.

Source: Wu, Peng, Yu, "YuNet: A tiny millisecond-level face detector", Machine Intelligence Research, 2023. At 320
pixels OpenVINO takes 1.0 ms on one core where OpenCV takes 3.6, and libfacedetection, the same network, 8.6.
"""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np

from dadfi_fast.backends.openvino_core import core, operations
from dadfi_fast.errors import UsageError
from dadfi_fast.faces.detector import CONFIDENCE, SAME, Detector
from dadfi_fast.faces.openvino_network import STRIDES, OpenVinoNetwork
from dadfi_fast.types import Face, Float32, UInt8


class _Network(Protocol):
    """Rows (x, y, width, height, ..., score) of what is found in a picture [H, W, 3] RGB."""

    def __call__(self, pixels: UInt8) -> Float32: ...


class YuNet(Detector):
    """Takes ``face_detection_yunet_2023mar.onnx`` of OpenCV's model zoo (MIT licence).

    Args:
        model: the file.
        runner: ``openvino`` or ``opencv``; the faster one that is installed where None.

    Raises:
        UsageError: the file cannot be read as YuNet.
    """

    name: ClassVar[str] = "yunet"

    def __init__(self, model: Path, *, runner: str | None = None) -> None:
        self.model = model
        self.runner = runner or ("openvino" if importlib.util.find_spec("openvino") else "opencv")
        try:
            self._network: _Network = (
                OpenVinoNetwork(_cells(core().read_model(model))) if self.runner == "openvino" else _OpenCV(model)
            )
            self._network(np.zeros((64, 64, 3), np.uint8))
        except Exception as error:  # each runtime has its own, and both are long
            raise UsageError(f"{model} is not an ONNX file of YuNet that {self.runner} can run") from error

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        if model is None:
            return (
                "it needs its model file; pass --detector-model face_detection_yunet_2023mar.onnx"
                " (from https://github.com/opencv/opencv_zoo, folder models/face_detection_yunet)"
            )
        return None if model.is_file() else f"--detector-model {model} does not exist"

    def find(self, pixels: UInt8) -> list[Face]:
        rows = self._network(pixels).tolist()
        return [Face(x, y, x + w, y + h, row[-1]) for row in rows for x, y, w, h in [row[:4]]]


class _OpenCV:
    """One network a thread: OpenCV's object holds the size and the buffers of the last picture."""

    def __init__(self, model: Path) -> None:
        self._model, self._local = str(model), threading.local()

    def __call__(self, pixels: UInt8) -> Float32:
        size = pixels.shape[1], pixels.shape[0]
        if not hasattr(self._local, "network"):
            self._local.network = cv2.FaceDetectorYN.create(self._model, "", size, CONFIDENCE, SAME)
        self._local.network.setInputSize(size)
        rows: Float32 | None = self._local.network.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
        return np.empty((0, 15), np.float32) if rows is None else rows


def _cells(model: Any) -> Any:
    """The network with a single output, score and box [1, cells, 5] of all cells, in place of one for each."""
    op = operations()
    from openvino import Model

    parts = []
    for stride in STRIDES:
        kind, there, box = (
            model.output(f"{head}_{stride}").get_node().input_value(0) for head in ("cls", "obj", "bbox")
        )
        score = op.sqrt(op.multiply(op.clamp(kind, 0.0, 1.0), op.clamp(there, 0.0, 1.0)))
        parts.append(op.concat([score, box], axis=2))
    return Model([op.result(op.concat(parts, axis=1))], model.get_parameters(), "yunet")
