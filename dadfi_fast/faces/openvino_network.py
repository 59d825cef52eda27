"""Networks of YuNet's kind, run by OpenVINO: pictures of any size, one request a thread."""

from __future__ import annotations

import threading
from typing import Any, Final

import cv2
import numpy as np

from dadfi_fast.backends.openvino_core import core
from dadfi_fast.device import cores
from dadfi_fast.faces.detector import CONFIDENCE, SAME
from dadfi_fast.types import Float32, UInt8

#: Pixels between the cells of the network's three outputs.
STRIDES: Final = (8, 16, 32)


class OpenVinoNetwork:
    """Finds faces in pictures of any size.

    It is compiled once, for every size: a size that is new costs 6 to 60 core-ms more, where compiling for it would
    cost 80 (AMD EPYC).

    Args:
        model: an ``openvino.Model`` with one input, BGR in levels [1, 3, H, W], H and W multiples of 32, and one
            output, score and box [1, cells, 5] of all cells, stride by stride.
        precision: ``f32`` or ``bf16``; what OpenVINO takes for this CPU where None.
    """

    def __init__(self, model: Any, *, precision: str | None = None) -> None:
        settings: dict[str, Any] = {"NUM_STREAMS": cores(), "INFERENCE_NUM_THREADS": cores()}
        if precision:
            settings["INFERENCE_PRECISION_HINT"] = precision
        self._compiled = core().compile_model(_from_pixels(model), "CPU", settings)
        self._local = threading.local()

    def __call__(self, pixels: UInt8) -> Float32:
        """The faces in ``pixels`` [H, W, 3] RGB: [N, 5] of x, y, width, height, score, at least `CONFIDENCE`."""
        height, width = pixels.shape[:2]
        shape = height + -height % STRIDES[-1], width + -width % STRIDES[-1]
        padded = np.zeros((1, *shape, 3), np.uint8)
        padded[0, :height, :width] = pixels
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        request = self._local.request
        request.infer([padded], share_inputs=True)
        rows = _decoded(request.get_output_tensor().data[0], *shape)
        if len(rows) < 2:
            return rows
        chosen = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 4].tolist(), CONFIDENCE, SAME)
        return rows[np.asarray(chosen, dtype=np.intp).ravel()]


def _decoded(cells: Float32, height: int, width: int) -> Float32:
    """What is found in a picture of this size: [N, 5] of x, y, width, height, score, boxes of one face side by side.

    Args:
        cells: [N, 5] of score and box for all cells, those of the first stride first; decoded as OpenCV's
            `FaceDetectorYN` does it.
    """
    parts, start = [], 0
    for stride in STRIDES:
        across = width // stride
        end = start + across * (height // stride)
        indices = np.flatnonzero(cells[start:end, 0] >= CONFIDENCE)
        row, column = np.divmod(indices, across)
        score, x, y, w, h = cells[start:end][indices].T
        size = np.exp([w, h]) * stride
        corner = np.stack([column + x, row + y]) * stride - size / 2
        parts.append(np.vstack([corner, size, score]).T)
        start = end
    rows: Float32 = np.concatenate(parts).astype(np.float32)
    return rows


def _from_pixels(model: Any) -> Any:
    """The network with an input of RGB bytes [1, H, W, 3], H and W open, in place of BGR floats [1, 3, H, W]."""
    from openvino import Layout, Type
    from openvino.preprocess import ColorFormat, PrePostProcessor

    processor = PrePostProcessor(model)
    tensor = processor.input().tensor()
    tensor.set_element_type(Type.u8).set_layout(Layout("NHWC")).set_color_format(ColorFormat.RGB)
    processor.input().preprocess().convert_element_type(Type.f32).convert_color(ColorFormat.BGR)
    processor.input().model().set_layout(Layout("NCHW"))
    built = processor.build()
    built.reshape([1, -1, -1, 3])
    return built
