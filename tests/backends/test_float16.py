from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from dadfi_fast.backends import float16 as module
from dadfi_fast.backends.float16 import to_float16
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.registry import BACKENDS
from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.types import LEVELS, Float32


@pytest.fixture
def model(generator: GeneratorFile) -> onnx.ModelProto:
    return onnx.load_from_string(to_float16(generator.onnx.read_bytes()))


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    graph = inferred.graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}


def test_norms_are_wide_and_convolutions_narrow(model: onnx.ModelProto) -> None:
    kinds = types(model)
    wide, narrow = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    for node in model.graph.node:
        if node.op_type in module.WIDE - {"Cast"}:
            assert kinds[node.output[0]] == wide, node.name
        elif node.op_type != "Cast":
            assert kinds[node.output[0]] == narrow, node.name


def test_ends_and_facts_stay(model: onnx.ModelProto, generator: GeneratorFile) -> None:
    kinds = types(model)
    assert (kinds["crops"], kinds["delta"]) == (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT)
    assert {p.key: p.value for p in model.metadata_props}["dadfi.lim"] == str(generator.lim)
    assert len(model.SerializeToString()) < 0.6 * generator.onnx.stat().st_size


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_it_is_the_same_generator(name: str, generator: GeneratorFile, pictures: Float32, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(to_float16(generator.onnx.read_bytes()))
    kind = BACKENDS[name]()
    full = kind(generator, threads=1, precision="f32")(pictures)
    apart = np.abs(kind(replace(generator, onnx=path), threads=1, precision="f32")(pictures) - full) * LEVELS
    assert 0 < apart.max() < 0.25  # 11 bits of mantissa, of which the norms lose none


def test_what_is_no_generator_is_refused() -> None:
    from onnx import TensorProto, helper

    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])] for name in ("crops", "delta")]
    graph = helper.make_graph([helper.make_node("Sin", ["crops"], ["delta"])], "toy", *ends)
    with pytest.raises(UsageError, match="this file is not a generator; it has Sin"):
        to_float16(helper.make_model(graph).SerializeToString())


def test_without_the_package_it_says_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "missing", lambda: "run: pip install onnx")
    with pytest.raises(BackendMissing, match="pip install onnx"):
        to_float16(b"")
