"""A generator's ONNX file with one node for instance norm, ReLU and the addition of a residual.

The nodes are those of `dadfi_fast.ops.node`, and the file says what each of them means (an ONNX function): a runtime
that does not know them runs the meaning, one that has our kernels (TensorRT) runs these. The file is rewritten, not
exported anew, so torch is not needed.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Final

import onnx
from onnx import FunctionProto, GraphProto, NodeProto, helper

from dadfi_fast.errors import UsageError
from dadfi_fast.export.to_onnx import OPSET
from dadfi_fast.ops.node import DOMAIN, EPS, NODES, Call, name_of

#: What TensorRT's parser reads: which plugin, and that its kernel is to go into the engine.
PLUGIN: Final[dict[str, Any]] = {"plugin_namespace": DOMAIN, "plugin_version": "1", "aot": 1}


def fuse(model: bytes) -> bytes:
    """The generator ``model`` (ONNX, plain operators, float32) with the fused nodes.

    Raises:
        UsageError: there is nothing to fuse, as in a file that has the nodes already.
    """
    read = onnx.load_from_string(model)
    used = _fuse(read.graph)
    if not used:
        raise UsageError("cannot fuse this generator: it has no instance norm. Export the generator it was made from.")
    read.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    read.functions.extend(_meaning(name, NODES[name]) for name in sorted(used))
    onnx.checker.check_model(read)
    return bytes(read.SerializeToString())


def _fuse(graph: GraphProto) -> set[str]:
    """Change the graph in place; the names of the nodes that it has then."""
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    constants = {weight.name for weight in graph.initializer}
    follower = {
        name: node
        for node in graph.node
        for name in node.input
        if uses[name] == 1 and not (node.op_type == "Add" and constants.intersection(node.input))
    }
    fused: dict[int, NodeProto] = {}  # by the last node that each takes the place of
    gone: set[int] = set()
    for node in graph.node:
        if node.op_type == "InstanceNormalization" and math.isclose(_eps(node), EPS, rel_tol=1e-6):
            chain = _chain(node, follower)
            fused[id(chain[-1])] = _node(chain)
            gone.update(map(id, chain))
    nodes = [fused.get(id(node), node) for node in graph.node if id(node) in fused or id(node) not in gone]
    remaining = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(remaining)
    return {node.op_type for node in fused.values()}


def _chain(norm: NodeProto, follower: dict[str, NodeProto]) -> list[NodeProto]:
    """The norm, and the ReLU and the addition that follow it and take nothing else from it."""
    chain = [norm]
    for kind in ("Relu", "Add"):
        following = follower.get(chain[-1].output[0])
        if following is not None and following.op_type == kind:
            chain.append(following)
    return chain


def _node(chain: list[NodeProto]) -> NodeProto:
    kinds = {node.op_type: node for node in chain}
    inputs = list(chain[0].input)
    if (add := kinds.get("Add")) is not None:
        before = chain[-2].output[0]
        inputs.append(next(name for name in add.input if name != before))
    name = name_of(Call(relu="Relu" in kinds, residual=add is not None))
    return helper.make_node(name, inputs, list(chain[-1].output), name=chain[-1].name, domain=DOMAIN, **PLUGIN)


def _meaning(name: str, call: Call) -> FunctionProto:
    """What a node means: in float32 whatever its planes are stored in, as the kernels compute."""
    wide: dict[str, Any] = {"to": onnx.TensorProto.FLOAT}
    steps = [
        helper.make_node("Cast", ["x"], ["wide"], **wide),
        helper.make_node("InstanceNormalization", ["wide", "weight", "bias"], ["normal"], epsilon=EPS),
    ]
    if call.relu:
        steps.append(helper.make_node("Relu", [steps[-1].output[0]], ["active"]))
    if call.residual:
        steps.append(helper.make_node("Cast", ["residual"], ["more"], **wide))
        steps.append(helper.make_node("Add", [steps[-2].output[0], "more"], ["sum"]))
    steps.append(helper.make_node("CastLike", [steps[-1].output[0], "x"], ["out"]))
    inputs = ["x", "weight", "bias"] + ["residual"] * call.residual
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_function(DOMAIN, name, inputs, ["out"], steps, opset, attributes=list(PLUGIN))


def _eps(norm: NodeProto) -> float:
    return next((each.f for each in norm.attribute if each.name == "epsilon"), 1e-5)
