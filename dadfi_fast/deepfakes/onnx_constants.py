"""Makes weights of what an ONNX file computes from constants: the converter to torch looks for weights only there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.reference
from onnx import helper, numpy_helper

from dadfi_fast.deepfakes.onnx_guard import shape_of
from dadfi_fast.deepfakes.onnx_interface import Values


def with_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model``, which `dadfi_fast.deepfakes.onnx_guard` has passed, in which constants are weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in copy.graph.initializer}
    nodes = list(copy.graph.node)
    del copy.graph.node[:]
    for node in nodes:
        node = _plain(node, inferred)
        values = _shape(node, inferred)
        if values is None:
            values = _folded(node, known, copy)
        if values is None:
            copy.graph.node.append(node)
        else:
            known[node.output[0]] = values
            copy.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    return copy


def _plain(node: onnx.NodeProto, inferred: Mapping[str, onnx.ValueInfoProto]) -> onnx.NodeProto:
    """A CastLike as a Cast, where the type is known; any other node as it is."""
    if node.op_type != "CastLike" or node.input[1] not in inferred:
        return node
    return helper.make_node("Cast", node.input[:1], node.output, to=inferred[node.input[1]].type.tensor_type.elem_type)


def _shape(node: onnx.NodeProto, inferred: Mapping[str, onnx.ValueInfoProto]) -> Values | None:
    """What a Shape gives, where those lengths are known: of the channels, but not of the batch."""
    if node.op_type != "Shape" or node.input[0] not in inferred:
        return None
    said = {attribute.name: attribute.i for attribute in node.attribute}
    lengths = shape_of(inferred[node.input[0]])[said.get("start", 0) : said.get("end")]
    return np.array(lengths, np.int64) if lengths and None not in lengths else None


def _folded(node: onnx.NodeProto, known: Mapping[str, Values], model: onnx.ModelProto) -> Values | None:
    """What a node gives that depends on constants alone; None for all others, and for several values."""
    if len(node.output) > 1 or not all(name in known for name in node.input if name):
        return None
    given = {name: known[name] for name in node.input if name}
    inputs = [helper.make_empty_tensor_value_info(name) for name in given]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = helper.make_graph([node], "constant", inputs, outputs)
    alone = helper.make_model(graph, opset_imports=model.opset_import)
    (values,) = onnx.reference.ReferenceEvaluator(alone).run(None, given)
    return np.asarray(values)
