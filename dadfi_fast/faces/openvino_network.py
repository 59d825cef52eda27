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
#: A size of at most so many pixels that has come so often gets a network of its own, for up to so many sizes: with open
#: sizes 1.9 core-ms, with 160 x 160 alone 1.5, and the same numbers. Compiling takes 100 (AMD EPYC).
SMALL: Final = 192 * 192
OFTEN: Final = 250
SIZES: Final = 4


class OpenVinoNetwork:
    """Finds faces in pictures of any size.

    It is compiled once, for every size: a size that is new costs 6 to 60 core-ms more, where compiling for it would
    cost 80 (AMD EPYC). For small sizes that come `OFTEN` it is compiled again.

    Args:
        model: an ``openvino.Model`` with one input, BGR in levels [1, 3, H, W], H and W multiples of 32, and one
            output, score and box [1, cells, 5] of all cells, stride by stride.
        precision: ``f32`` or ``bf16``; what OpenVINO takes for this CPU where None.
    """

    def __init__(self, model: Any, *, precision: str | None = None) -> None:
        settings: dict[str, Any] = {"NUM_STREAMS": cores(), "INFERENCE_NUM_THREADS": cores()}
        if precision:
            settings["INFERENCE_PRECISION_HINT"] = precision
        self._model, self._settings = _from_pixels(model), settings
        self._compiled = core().compile_model(self._model, "CPU", settings)
        self._counts: dict[tuple[int, int], int] = {}
        self._for_one_size: dict[tuple[int, int], Any] = {}
        self._lock, self._local = threading.Lock(), threading.local()

    def __call__(self, pixels: UInt8) -> Float32:
        """The faces in ``pixels`` [H, W, 3] RGB: [N, 5] of x, y, width, height, score, at least `CONFIDENCE`."""
        height, width = pixels.shape[:2]
        shape = height + -height % STRIDES[-1], width + -width % STRIDES[-1]
        if shape == (height, width):
            padded = np.ascontiguousarray(pixels)[None]
        else:
            padded = np.zeros((1, *shape, 3), np.uint8)
            padded[0, :height, :width] = pixels
        request = self._request(shape)
        request.infer([padded], share_inputs=True)
        rows = _decoded(request.get_output_tensor().data[0], *shape)
        if len(rows) < 2:
            return rows
        chosen = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 4].tolist(), CONFIDENCE, SAME)
        return rows[np.asarray(chosen, dtype=np.intp).ravel()]

    def _request(self, shape: tuple[int, int]) -> Any:
        """This thread's request for pictures of a size."""
        if shape[0] * shape[1] <= SMALL and shape not in self._for_one_size:
            self._count(shape)
        compiled = self._for_one_size.get(shape, self._compiled)
        requests: dict[int, Any] = self._local.__dict__.setdefault("requests", {})
        if id(compiled) not in requests:
            requests[id(compiled)] = compiled.create_infer_request()
        return requests[id(compiled)]

    def _count(self, shape: tuple[int, int]) -> None:
        with self._lock:
            count = self._counts[shape] = self._counts.get(shape, 0) + 1
            if count == OFTEN and len(self._for_one_size) < SIZES:
                model = self._model.clone()
                model.reshape([1, *shape, 3])
                self._for_one_size[shape] = core().compile_model(model, "CPU", self._settings)


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
