"""A generator that needs no training, and photos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.types import UInt8


@pytest.fixture(scope="session")
def toy_generator(tmp_path_factory: pytest.TempPathFactory) -> GeneratorFile:
    """``delta = 0.05 * tanh(crops)``."""
    from onnx import TensorProto, helper, numpy_helper

    shape = ["b", 3, "h", "w"]
    nodes = [helper.make_node("Tanh", ["crops"], ["t"]), helper.make_node("Mul", ["t", "lim"], ["delta"])]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name in ("crops", "delta")]
    graph = helper.make_graph(nodes, "toy", *ends, [numpy_helper.from_array(np.float32(0.05), "lim")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("generator") / "toy.onnx"
    path.write_bytes(model.SerializeToString())
    return GeneratorFile("toy", path, None, hashlib.sha256(path.read_bytes()).hexdigest(), 0.05, "s")


@pytest.fixture
def folder(tmp_path: Path, smooth: Callable[[int, int], UInt8]) -> Path:
    """Two JPEG files, a PNG below, and what is no picture."""
    source = tmp_path / "photos"
    (source / "below").mkdir(parents=True)
    Image.fromarray(smooth(48, 64)).save(source / "a.jpg", quality=90, subsampling="4:2:0")
    Image.fromarray(smooth(64, 64)).save(source / "b.jpg", quality=70, subsampling="4:4:4")
    Image.fromarray(smooth(40, 40)).save(source / "below" / "c.png")
    (source / "notes.txt").write_text("not an image")
    (source / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    return source
