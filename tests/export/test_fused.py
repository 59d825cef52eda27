from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dadfi_fast.backends import cuda
from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.float16 import is_float16, to_float16
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.backends.openvino import OpenVINO
from dadfi_fast.backends.tensorrt import build
from dadfi_fast.errors import UsageError
from dadfi_fast.export import generator
from dadfi_fast.export.fused import fuse
from dadfi_fast.export.targets import export
from dadfi_fast.kernels.loader import source_digest
from dadfi_fast.model_card import read_card
from dadfi_fast.ops import node
from dadfi_fast.ops.node import DOMAIN
from dadfi_fast.types import LEVELS


def norm(x: str, out: str, epsilon: float = 1e-5) -> onnx.NodeProto:
    return helper.make_node("InstanceNormalization", [x, "w", "b"], [out], epsilon=epsilon)


def model(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",)) -> bytes:
    shape = ["n", 2, "h", "w"]
    values = {"w": [2, 3], "b": [3, 2], "half": [0.5]}
    fixed = [onnx.numpy_helper.from_array(np.array(value, np.float32), name) for name, value in values.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", *outputs)]
    graph = helper.make_graph(list(nodes), "toy", ends[:1], ends[1:], fixed)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    )


def kinds(content: bytes) -> list[str]:
    return [each.op_type for each in onnx.load_from_string(content).graph.node]


def relu(x: str, out: str) -> onnx.NodeProto:
    return helper.make_node("Relu", [x], [out])


def add(x: str, other: str, out: str) -> onnx.NodeProto:
    return helper.make_node("Add", [x, other], [out])


@pytest.mark.parametrize(
    ("nodes", "outputs", "expected"),
    [
        ([norm("x", "y")], ("y",), ["InstanceNorm"]),
        ([norm("x", "a"), relu("a", "y")], ("y",), ["InstanceNormRelu"]),
        ([norm("x", "a"), add("x", "a", "y")], ("y",), ["InstanceNormResidual"]),
        ([norm("x", "a"), relu("a", "c"), add("c", "x", "y")], ("y",), ["InstanceNormReluResidual"]),
        # What somebody else reads, too, stays.
        ([norm("x", "a"), relu("a", "y")], ("y", "a"), ["InstanceNorm", "Relu"]),
        ([norm("x", "a"), relu("a", "c"), add("c", "a", "y")], ("y",), ["InstanceNorm", "Relu", "Add"]),
        # An addition of a plane that is made later than the norm: the node stands where the addition stood.
        ([norm("x", "a"), relu("x", "c"), add("a", "c", "y")], ("y",), ["Relu", "InstanceNormResidual"]),
        # Added to itself: nobody else may take it.
        ([norm("x", "a"), add("a", "a", "y")], ("y",), ["InstanceNorm", "Add"]),
        # A constant is no residual: it need not have the planes' shape.
        ([norm("x", "a"), add("a", "half", "y")], ("y",), ["InstanceNorm", "Add"]),
        # The kernel has one eps.
        (
            [norm("x", "a", 1e-3), relu("a", "c"), norm("c", "y")],
            ("y",),
            ["InstanceNormalization", "Relu", "InstanceNorm"],
        ),
    ],
    ids=str,
)
def test_what_is_fused(
    nodes: list[onnx.NodeProto], outputs: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    before = model(*nodes, outputs=outputs)
    after = fuse(before)
    assert kinds(after) == expected
    import onnxruntime

    x = {"x": np.random.default_rng(0).standard_normal((2, 2, 5, 3), np.float32)}
    plain, fused = (onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]) for each in (before, after))
    for one, other in zip(plain.run(None, x), fused.run(None, x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_generator(released: GeneratorFile) -> None:
    network = fuse(released.onnx.read_bytes())
    counted = Counter(kinds(network))
    assert counted["InstanceNormRelu"] == 9 and counted["InstanceNormResidual"] == 4
    assert not {"InstanceNormalization", "Relu", "Add"} & counted.keys()
    nodes = [each for each in onnx.load_from_string(network).graph.node if each.domain == DOMAIN]
    for each in nodes:  # what TensorRT's parser looks for
        said = {entry.name: helper.get_attribute_value(entry) for entry in each.attribute}
        assert said == {"plugin_namespace": b"dadfi", "plugin_version": b"1", "aot": 1}


@pytest.mark.parametrize("kind", [OnnxRuntime, OpenVINO])
@pytest.mark.parametrize(("narrow", "levels"), [(False, 0.001), (True, 0.25)])
def test_runtimes_without_the_kernel_run_its_meaning(
    released: GeneratorFile, tmp_path: Path, kind: type[Backend], narrow: bool, levels: float
) -> None:
    output = generator.write(generator.read(str(released.onnx)), tmp_path, narrow=narrow, fused=True)
    assert output.onnx.name == ("toy-fused-f16.onnx" if narrow else "toy-fused.onnx") and output.safetensors is None
    crops = np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 48)).astype(np.float32)
    one, other = (kind(each, threads=1, precision="f32")(crops) for each in (output, released))
    assert np.abs(one - other).max() * LEVELS < levels


def test_half_keeps_weight_and_bias_wide_and_planes_narrow(released: GeneratorFile) -> None:
    read = onnx.load_from_string(to_float16(fuse(released.onnx.read_bytes())))
    weights = {each.name: each.data_type for each in read.graph.initializer}
    producers = {name: each for each in read.graph.node for name in each.output}
    for each in read.graph.node:
        if each.domain == DOMAIN:
            assert {weights[name] for name in each.input[1:3]} == {TensorProto.FLOAT}
            assert "Cast" not in {producers[name].op_type for name in each.input if name in producers}, (
                "nothing is widened"
            )


def test_without_the_nodes_it_is_the_file_that_was_fused(released: GeneratorFile) -> None:
    """OpenVINO gets that; what it makes of the generator goes by its operators."""
    network = node.plain(fuse(released.onnx.read_bytes()))
    assert kinds(network) == kinds(released.onnx.read_bytes())
    onnx.checker.check_model(onnx.load_from_string(network), full_check=True)
    narrow = node.plain(to_float16(fuse(released.onnx.read_bytes())))
    assert "Cast" in kinds(narrow) and not node.used(narrow)


def test_what_tensorrt_is_given_has_the_nodes_without_their_meaning(released: GeneratorFile) -> None:
    network = fuse(released.onnx.read_bytes())
    bare = onnx.load_from_string(node.bare(network))
    assert not bare.functions and kinds(node.bare(network)) == kinds(network)
    assert node.used(network) and not node.used(released.onnx.read_bytes())


def test_nothing_is_fused_twice(released: GeneratorFile) -> None:
    with pytest.raises(UsageError, match="it has no instance norm"):
        fuse(fuse(released.onnx.read_bytes()))


def test_the_card_says_so(released: GeneratorFile, tmp_path: Path) -> None:
    output = generator.write(generator.read(str(released.onnx)), tmp_path, fused=True)
    assert read_card(output.onnx.with_suffix(".md")).extra["nodes"] == "norm, ReLU and addition in one"


@pytest.mark.parametrize("to", ["openvino", "tensorrt-rtx"])
def test_others_take_no_kernels(released: GeneratorFile, tmp_path: Path, to: str) -> None:
    with pytest.raises(UsageError, match=f"--fused is for onnx and tensorrt: {to} does not accept custom kernels"):
        export(to, str(released.onnx), folder=tmp_path, fused=True)


def test_an_engine_is_built_from_the_fused_file(
    released: GeneratorFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[bytes] = []

    def compiled(flavour: build.Flavour, model: bytes, **_: object) -> build.Built:
        built.append(model)
        return build.Built(b"engine", b"")

    monkeypatch.setattr(build.Flavour, "missing", lambda self: None)
    monkeypatch.setattr(build, "version", lambda flavour: "tensorrt 11.4")
    monkeypatch.setattr(build, "build", compiled)
    monkeypatch.setattr(cuda, "gpu", lambda device="cuda": cuda.Gpu("NVIDIA H100", (9, 0), "13.0"))
    written = export("tensorrt", str(released.onnx), folder=tmp_path, fused=True)
    assert written.generator_file.onnx == tmp_path / "toy-fused.onnx" and written.backends == ("tensorrt",)
    assert node.used(built[0]) and is_float16(onnx.load_from_string(built[0]))
    facts = json.loads(written.files[0].with_suffix(".json").read_text())
    assert facts["kernels"] == source_digest() and facts["generator"] == written.generator_file.sha256
