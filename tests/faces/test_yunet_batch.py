"""YuNet in batches: a stand-in whose answers are known by hand, and the real file where DADFI_YUNET names it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.faces import yunet_batch
from dadfi_fast.faces.openvino_network import STRIDES
from dadfi_fast.faces.shrink import shrink
from dadfi_fast.faces.yunet import YuNet
from dadfi_fast.faces.yunet_batch import YuNetBatch, decoded
from dadfi_fast.types import Face, UInt8

YUNET = os.environ.get("DADFI_YUNET")


def stand_in(*, outputs: Sequence[str] = ("cls", "obj", "bbox", "kps")) -> bytes:
    """A file with the inputs, outputs and sizes of YuNet: a bright cell is a face of two strides at its corner."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {"level": np.float32(1 / 255), "none": np.float32(0)}
    constants["size"] = np.array([0, 0, math.log(2), math.log(2)], np.float32).reshape(1, 4, 1, 1)
    nodes, infos = [helper.make_node("ReduceMean", ["input"], ["grey"], axes=[1], keepdims=1)], []
    for stride in STRIDES:
        mean, nothing = f"mean{stride}", f"nothing{stride}"
        cell = [stride, stride]
        nodes.append(helper.make_node("AveragePool", ["grey"], [f"raw{stride}"], kernel_shape=cell, strides=cell))
        nodes.append(helper.make_node("Mul", [f"raw{stride}", "level"], [mean]))
        nodes.append(helper.make_node("Mul", [mean, "none"], [nothing]))
        nodes.append(helper.make_node("Concat", [nothing] * 4, [f"four{stride}"], axis=1))
        nodes.append(helper.make_node("Add", [f"four{stride}", "size"], [f"box{stride}"]))
        nodes.append(helper.make_node("Concat", [nothing] * 10, [f"ten{stride}"], axis=1))
        for name, count, source in (
            ("cls", 1, mean),
            ("obj", 1, mean),
            ("bbox", 4, f"box{stride}"),
            ("kps", 10, f"ten{stride}"),
        ):
            if name in outputs:
                constants[f"shape{count}"] = np.array([1, -1, count])
                nodes.append(helper.make_node("Transpose", [source], [f"{name}t{stride}"], perm=[0, 2, 3, 1]))
                nodes.append(helper.make_node("Reshape", [f"{name}t{stride}", f"shape{count}"], [f"{name}_{stride}"]))
                shape = [1, (640 // stride) ** 2, count]
                infos.append(helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, shape))
    graph_input = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    fixed = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "stand-in", [graph_input], infos, fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("yunet") / "stand-in.onnx"
    path.write_bytes(stand_in())
    return path


def black(height: int, width: int, *bright: tuple[int, int, int, int]) -> Any:
    """A black picture, with white rectangles of (x, y, width, height)."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for x, y, w, h in bright:
        pixels[y : y + h, x : x + w] = 255
    return torch.from_numpy(pixels)


def box(face: Face) -> tuple[float, ...]:
    return face.x0, face.y0, face.x1, face.y1


@pytest.mark.parametrize(
    ("picture", "boxes"),
    [
        (black(64, 64), []),
        (black(64, 64, (16, 24, 8, 8)), [(8, 16, 24, 32)]),  # the cell of 8 pixels at (2, 3)
        (black(64, 64, (0, 0, 8, 8)), [(0, 0, 8, 8)]),  # cut to the picture
        (black(128, 64, (16, 96, 16, 16)), [(0, 80, 32, 112)]),  # half as large in the copy: a cell of 8 there
        (black(64, 64, (8, 8, 8, 8), (48, 48, 8, 8)), [(0, 0, 16, 16), (40, 40, 56, 56)]),
        (black(11, 64, (0, 0, 64, 11)), []),  # too small for any face
    ],
)
def test_boxes_by_hand(model: Path, picture: Any, boxes: list[tuple[int, ...]]) -> None:
    faces = YuNetBatch(model, sides=((64, 0.0),))([picture])[0]
    assert sorted(box(face) for face in faces) == sorted(boxes)
    assert all(face.score == pytest.approx(1) for face in faces)


def test_a_batch_is_its_pictures_one_by_one(model: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = []
    for height, width in ((64, 64), (30, 200), (300, 100), (8, 8), (96, 160)):
        pixels = np.repeat(rng.integers(0, 2, (height // 8, width // 8, 1)) * 255, 3, axis=2).astype(np.uint8)
        pictures.append(torch.from_numpy(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST)))
    network = YuNetBatch(model, sides=((96, 0.0),))
    together = network(pictures)
    assert together == [network([each])[0] for each in pictures]
    assert any(together) and together[3] == [] and network([]) == []


def test_small_faces_call_for_a_finer_copy(model: Path) -> None:
    wide, near = black(256, 256, (64, 64, 8, 8)), black(256, 256, (64, 64, 64, 64))
    assert YuNetBatch(model, sides=((64, 0.0),))([wide, near])[0] == []
    network, calls = YuNetBatch(model, sides=((64, 0.2), (256, 0.0))), []
    once = network._at
    network._at = lambda pictures, side: calls.append((side, len(pictures))) or once(pictures, side)  # type: ignore[method-assign,func-returns-value]
    faces = network([wide, near])
    assert box(faces[0][0]) == (56, 56, 72, 72)
    assert calls == [(64, 2), (256, 1)]  # the near one was seen at once


def test_decoded_is_the_loop_of_opencv() -> None:
    side, rng = 64, np.random.default_rng(0)
    heads = {}
    for stride in STRIDES:
        cells = (side // stride) ** 2
        for name, numbers in (("cls", 1), ("obj", 1), ("bbox", 4)):
            heads[f"{name}_{stride}"] = torch.from_numpy(rng.uniform(-0.2, 1.3, (3, cells, numbers)).astype(np.float32))
    rows, pictures = decoded(heads, side)
    expected = []
    for stride in STRIDES:
        for picture in range(3):
            for cell in range((side // stride) ** 2):
                kind, there, (x, y, w, h) = (
                    heads[f"{n}_{stride}"][picture, cell].tolist() for n in ("cls", "obj", "bbox")
                )
                score = math.sqrt(min(max(kind[0], 0), 1) * min(max(there[0], 0), 1))
                if score >= 0.6:
                    row, column = divmod(cell, side // stride)
                    width, height = math.exp(w) * stride, math.exp(h) * stride
                    left, top = (column + x) * stride - width / 2, (row + y) * stride - height / 2
                    expected.append((left, top, width, height, score, picture))
    assert len(expected) > 20
    assert np.allclose(np.column_stack([rows, pictures]), expected, atol=1e-4)


def test_files_that_are_not_yunet(tmp_path: Path) -> None:
    for name, content in (("words", b"hello"), ("empty", b""), ("half", stand_in(outputs=("cls",)))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=f"{name} (is not an ONNX file of YuNet|does not have the outputs)"):
            YuNetBatch(tmp_path / name)


def test_what_is_missing_is_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yunet_batch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match=r"torch is not installed; run: pip install 'dadfi-fast\[dali\]'"):
        YuNetBatch(model)


@pytest.mark.skipif(not YUNET, reason="DADFI_YUNET does not name YuNet's ONNX file")
def test_boxes_are_those_of_opencv(examples: Path) -> None:
    real, side = Path(YUNET or ""), 640
    pictures: list[UInt8] = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(examples.iterdir())]
    opencv = YuNet(real, runner="opencv")
    detections = YuNetBatch(real, sides=((side, 0.0),))([torch.from_numpy(each.copy()) for each in pictures])
    assert [len(faces) > 0 for faces in detections].count(True) >= 4
    for pixels, faces in zip(pictures, detections, strict=True):
        height, width = pixels.shape[:2]
        scale = min(1.0, side / max(height, width))
        across, down = round(width * scale), round(height * scale)
        expected = sorted(opencv.find(shrink(pixels, across, down)), key=lambda face: -face.score)
        assert len(faces) == len(expected)
        for one, other in zip(faces, expected, strict=True):
            theirs = np.multiply(box(other), (width / across, height / down) * 2)
            theirs = np.clip(theirs, 0, (width, height) * 2)
            assert np.abs(np.subtract(box(one), theirs)).max() < 1 and abs(one.score - other.score) < 0.01


@pytest.mark.gpu
def test_a_gpu_finds_the_same(model: Path) -> None:
    """Has never run."""
    picture = black(128, 128, (16, 24, 8, 8))
    there = YuNetBatch(model, device="cuda")([picture.cuda()])
    assert there == YuNetBatch(model)([picture])
