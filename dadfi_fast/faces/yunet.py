"""YuNet from the user's ONNX file: run by OpenVINO where it is installed, else by OpenCV, with the same boxes.

Source: Wu, Peng, Yu, "YuNet: A tiny millisecond-level face detector", Machine Intelligence Research, 2023. At 320
pixels OpenVINO takes 1.0 ms on one core where OpenCV takes 3.6, and libfacedetection, the same network, 8.6.
"""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import cv2
import numpy as np

from dadfi_fast.backends.openvino_core import core
from dadfi_fast.device import cores
from dadfi_fast.errors import UsageError
from dadfi_fast.faces.detector import CONFIDENCE, SAME, Detector
from dadfi_fast.types import Face, Float32, UInt8

#: Pixels between the cells of the network's three outputs.
STRIDES: Final = (8, 16, 32)
#: Sides are padded to a multiple of a fifth of the longer one, and at least of this: few shapes have to be compiled.
_PADDED: Final = 64


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
            self._network: _Network = _OpenVINO(model) if self.runner == "openvino" else _OpenCV(model)
            self._network(np.zeros((64, 64, 3), np.uint8))
        except Exception as error:  # each runtime has its own, and both are long
            raise UsageError(f"{model} is not an ONNX file of YuNet that {self.runner} can run") from error

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        if model is None:
            return (
                "it needs its file; pass --detector-model face_detection_yunet_2023mar.onnx"
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
        found: Float32 | None = self._local.network.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
        return np.empty((0, 15), np.float32) if found is None else found


class _OpenVINO:
    """One compiled network a shape, one request a thread and shape."""

    def __init__(self, model: Path) -> None:
        self._core = core()
        self._model = _taking_pixels(self._core.read_model(model))
        self._settings = {"NUM_STREAMS": cores(), "INFERENCE_NUM_THREADS": cores()}
        self._compiled: dict[tuple[int, int], Any] = {}
        self._lock, self._local = threading.Lock(), threading.local()

    def __call__(self, pixels: UInt8) -> Float32:
        height, width = pixels.shape[:2]
        unit = _PADDED * max(1, round(max(height, width) / (5 * _PADDED)))
        shape = height + -height % unit, width + -width % unit
        padded = np.zeros((1, *shape, 3), np.uint8)
        padded[0, :height, :width] = pixels
        request = self._request(shape)
        request.infer([padded], share_inputs=True)
        rows = np.concatenate([_rows(request, stride, shape) for stride in STRIDES])
        kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 4].tolist(), CONFIDENCE, SAME)
        return rows[np.asarray(kept, dtype=np.intp).ravel()]

    def _request(self, shape: tuple[int, int]) -> Any:
        requests: dict[tuple[int, int], Any] = self._local.__dict__.setdefault("requests", {})
        if shape not in requests:
            with self._lock:
                if shape not in self._compiled:
                    model = self._model.clone()
                    model.reshape([1, *shape, 3])
                    self._compiled[shape] = self._core.compile_model(model, "CPU", self._settings)
            requests[shape] = self._compiled[shape].create_infer_request()
        return requests[shape]


def _taking_pixels(model: Any) -> Any:
    """The network with an input of RGB bytes [1, H, W, 3] in place of BGR floats [1, 3, H, W]."""
    from openvino import Layout, Type
    from openvino.preprocess import ColorFormat, PrePostProcessor

    made = PrePostProcessor(model)
    tensor = made.input().tensor()
    tensor.set_element_type(Type.u8).set_layout(Layout("NHWC")).set_color_format(ColorFormat.RGB)
    made.input().preprocess().convert_element_type(Type.f32).convert_color(ColorFormat.BGR)
    made.input().model().set_layout(Layout("NCHW"))
    return made.build()


def _rows(request: Any, stride: int, shape: tuple[int, int]) -> Float32:
    """What one output finds: [N, 5] of x, y, width, height, score (decoded as OpenCV's `FaceDetectorYN` does)."""
    kind, there, box = (request.get_tensor(f"{name}_{stride}").data[0] for name in ("cls", "obj", "bbox"))
    score = np.sqrt(np.clip(kind[:, 0], 0, 1) * np.clip(there[:, 0], 0, 1))
    cells = np.flatnonzero(score >= CONFIDENCE)
    row, column = np.divmod(cells, shape[1] // stride)
    x, y, width, height = box[cells].T
    size = np.exp([width, height]) * stride
    corner = np.stack([column + x, row + y]) * stride - size / 2
    return np.vstack([corner, size, score[cells]]).T.astype(np.float32)
