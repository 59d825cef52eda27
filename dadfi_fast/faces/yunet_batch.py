"""YuNet on many pictures at once, where the pictures lie: ONNX Runtime, on a CPU or on an NVIDIA GPU.

The network's outputs stay on the device, where cells below the confidence are dropped; what comes to the CPU is
the rows of possible faces, a few hundred bytes a picture. Boxes end up there because they decide how large the crops
are, which is what memory on the device is asked for with. On a GPU it has never run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from dadfi_fast.backends import cuda
from dadfi_fast.backends.onnxruntime import CUDA, OnnxRuntime
from dadfi_fast.device import cores
from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.faces.detector import CONFIDENCE, PASSES, SAME, SMALLEST, distinct
from dadfi_fast.faces.on_device import shrink
from dadfi_fast.faces.openvino_network import STRIDES
from dadfi_fast.types import Face, Float32

if TYPE_CHECKING:
    from torch import Tensor

#: The longer side of the copies that are searched. On a GPU the coarse passes before it save nothing.
SIDES: Final = tuple(each for each in PASSES if each[0] >= 640)
#: Outputs of the network for each stride: numbers a cell.
_HEADS: Final = {"cls": 1, "obj": 1, "bbox": 4}
#: Weakest faces that are dropped before boxes are compared; no photo has as many.
_MOST: Final = 5000


class YuNetBatch:
    """Takes ``face_detection_yunet_2023mar.onnx`` of OpenCV's model zoo (MIT licence), as `faces.yunet.YuNet` does.

    Args:
        model: the file.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        sides: the longer side, in pixels, of the copies that are searched, multiples of 32, each with the share of it
            below which a face calls for the next one; as in `faces.detector.PASSES`.

    Raises:
        BackendMissing: something that it needs is not installed, or there is no such device.
        UsageError: the file cannot be read as YuNet.
    """

    def __init__(self, model: Path, *, device: str = "cpu", sides: Sequence[tuple[int, float]] = SIDES) -> None:
        if (why := missing(device)) is not None:
            raise BackendMissing(f"YuNet cannot run in batches: {why}")
        self.device, self.sides = device, tuple(sides)
        try:
            self._session = _session(_any_size(model), device)
        except BackendMissing:
            raise
        except Exception as error:  # of onnx and ONNX Runtime, several and long
            raise UsageError(f"{model} is not an ONNX file of YuNet that ONNX Runtime can run") from error

    def __call__(self, pictures: Sequence[Tensor]) -> list[list[Face]]:
        """The faces in every picture, best first, in its own pixels and within it.

        Args:
            pictures: [H, W, 3] uint8 RGB on the device, each of its own size.
        """
        results: list[list[Face]] = [[] for _ in pictures]
        left = [n for n, each in enumerate(pictures) if min(each.shape[:2]) >= SMALLEST]
        for side, portrait in self.sides:
            at_this = self._at([pictures[n] for n in left], side) if left else []
            for n, faces in zip(left, at_this, strict=True):
                results[n] = distinct(results[n] + faces)
            left = [
                n
                for n in left
                if (longer := max(pictures[n].shape[:2])) > side and _goes_on(results[n], longer, portrait)
            ]
        return results

    def _at(self, pictures: Sequence[Tensor], side: int) -> list[list[Face]]:
        """The faces in copies of all pictures whose longer side is ``side``; smaller pictures are not enlarged."""
        import torch

        batch = torch.zeros((len(pictures), 3, side, side), device=self.device)
        scales = []
        for slot, picture in zip(batch, pictures, strict=True):
            height, width = picture.shape[:2]
            scale = min(1.0, side / max(height, width))
            small_height, small_width = (max(SMALLEST, round(n * scale)) for n in (height, width))
            slot[:, :small_height, :small_width] = shrink(picture, small_width, small_height).flip(0)  # to BGR
            scales.append((width / small_width, height / small_height, width, height))
        rows, of_picture = decoded(self._heads(batch), side)
        rows_by_picture = [rows[of_picture == n] for n in range(len(pictures))]
        return [list(_faces(each, *scale)) for each, scale in zip(rows_by_picture, scales, strict=True)]

    def _heads(self, batch: Tensor) -> dict[str, Tensor]:
        """The network's outputs, [B, cells, numbers] each, on the device."""
        import torch

        kind, number, count, side = batch.device.type, cuda.number(self.device), len(batch), batch.shape[-1]
        binding = self._session.io_binding()

        def bind(way: Any, name: str, tensor: Tensor) -> None:
            way(name, kind, number, np.float32, tuple(tensor.shape), tensor.data_ptr())

        outputs = {
            f"{head}_{stride}": torch.empty((1, count * (side // stride) ** 2, numbers), device=batch.device)
            for head, numbers in _HEADS.items()
            for stride in STRIDES
        }
        bind(binding.bind_input, self._session.get_inputs()[0].name, batch)
        for name, tensor in outputs.items():
            bind(binding.bind_output, name, tensor)
        if kind == "cuda":
            torch.cuda.current_stream(batch.device).synchronize()  # ONNX Runtime has a stream of its own
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return {name: tensor.view(count, -1, tensor.shape[-1]) for name, tensor in outputs.items()}


def missing(device: str = "cpu") -> str | None:
    """Why it cannot run on ``device``, and how to fix it; None if it can."""
    for package in ("torch", "onnx"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed; run: pip install 'dadfi-fast[dali]'"
    return OnnxRuntime.missing_on(device)


def decoded(heads: dict[str, Tensor], side: int) -> tuple[Float32, np.ndarray[Any, Any]]:
    """What the network has found in a batch of squares of ``side`` pixels, as OpenCV's `FaceDetectorYN` decodes it.

    Returns:
        [N, 5] of x, y, width, height and score of every cell that is at least `CONFIDENCE` sure, in pixels of the
        square, boxes of one face still side by side; and [N], the picture of each.
    """
    import torch

    parts = []
    for stride in STRIDES:
        kind, there, box = (heads[f"{name}_{stride}"] for name in _HEADS)
        score = (kind[..., 0].clamp(0, 1) * there[..., 0].clamp(0, 1)).sqrt()
        picture, cell = torch.nonzero(score >= CONFIDENCE, as_tuple=True)
        chosen, across = box[picture, cell], side // stride
        size = chosen[:, 2:].exp() * stride
        middle = (chosen[:, :2] + torch.stack([cell % across, cell // across], 1)) * stride
        parts.append(torch.cat([middle - size / 2, size, score[picture, cell, None], picture[:, None]], 1))
    rows: Float32 = torch.cat(parts).cpu().numpy()
    return rows[:, :5], rows[:, 5].astype(int)


def _faces(rows: Float32, x: float, y: float, width: int, height: int) -> list[Face]:
    """The best of every set of boxes that overlap, scaled by ``x`` and ``y`` to a picture of this size, cut to it."""
    chosen = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 4].tolist(), CONFIDENCE, SAME, top_k=_MOST)
    kept = rows[np.asarray(chosen, dtype=np.intp).ravel()].tolist()
    boxes = (
        Face(max(left * x, 0.0), max(top * y, 0.0), min((left + w) * x, width), min((top + h) * y, height), score)
        for left, top, w, h, score in kept
    )
    return [face for face in boxes if face.width >= 1 and face.height >= 1]


def searched_at(faces: Sequence[Face], height: int, width: int) -> int:
    """The longer side of the finest copy in which ``faces`` were found in a picture; or of a coarser one."""
    return next(side for side, portrait in SIDES if not _goes_on(faces, max(height, width), portrait))


def _goes_on(faces: Sequence[Face], longer: int, portrait: float) -> bool:
    """Whether a finer copy may have more faces; as in `faces.detector.Detector`."""
    return min((max(face.width, face.height) for face in faces), default=0.0) < portrait * longer


def _any_size(model: Path) -> bytes:
    """The file with batch, height and width left open; what reshapes within it takes any of them already."""
    import onnx

    network = onnx.load(str(model))
    (taken,) = (
        each for each in network.graph.input if each.name not in {known.name for known in network.graph.initializer}
    )
    for dimension, name in zip(taken.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=True):
        if name:
            dimension.dim_param = name
    for out in network.graph.output:
        out.type.tensor_type.ClearField("shape")
    del network.graph.value_info[:]
    if {f"{head}_{stride}" for head in _HEADS for stride in STRIDES} - {out.name for out in network.graph.output}:
        raise UsageError(f"{model} does not have the outputs of YuNet")
    data: bytes = network.SerializeToString()
    return data


def _session(model: bytes, device: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 3  # errors
    if device == "cpu":
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    onnxruntime.preload_dlls()
    chosen = [(CUDA, {"device_id": str(cuda.number(device)), "use_tf32": "0"})]
    session = onnxruntime.InferenceSession(model, options, providers=chosen)
    if session.get_providers()[0] != CUDA:
        raise BackendMissing(
            f"onnxruntime could not load {CUDA}. Run: pip install torch, which brings the libraries it needs"
        )
    return session
