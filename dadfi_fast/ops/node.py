"""The fused operation as a node of an ONNX file: one name for each way it is called, and no attributes that matter.

Such a file carries the meaning of each node as an ONNX function, so that every runtime can run it. Loads no framework.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final

from dadfi_fast.errors import BackendMissing

if TYPE_CHECKING:
    from onnx import FunctionProto

#: Added to the variance; the nodes know no other.
EPS: Final = 1e-5
#: Of the nodes, and the namespace of the TensorRT plugins that run them.
DOMAIN: Final = "dadfi"


@dataclass(frozen=True)
class Call:
    """How the operation is called: inputs x, weight, bias, and the residual if there is one."""

    relu: bool
    residual: bool


#: By the name of the node (its ``op_type``), which is also the plugin's.
NODES: Final = {
    "InstanceNorm": Call(relu=False, residual=False),
    "InstanceNormRelu": Call(relu=True, residual=False),
    "InstanceNormResidual": Call(relu=False, residual=True),
    "InstanceNormReluResidual": Call(relu=True, residual=True),
}


def name_of(call: Call) -> str:
    """The node for a call."""
    return next(name for name, each in NODES.items() if each == call)


def used(model: bytes) -> bool:
    """Whether an ONNX file has such nodes: they name their plugin, which nothing else in a generator does."""
    return b"plugin_namespace" in model


def bare(model: bytes) -> bytes:
    """The file without the nodes' meanings: a parser that finds those need not look for a plugin.

    Raises:
        BackendMissing: the package onnx is not installed.
    """
    read = _onnx().load_from_string(model)
    functions = [each for each in read.functions if each.domain != DOMAIN]
    del read.functions[:]
    read.functions.extend(functions)
    return bytes(read.SerializeToString())


def plain(model: bytes) -> bytes:
    """The file with the meanings in the place of the nodes, for runtimes that do not look into an ONNX function.

    In float32 the same operators come out as were fused.

    Raises:
        BackendMissing: the package onnx is not installed.
    """
    onnx = _onnx()
    from onnx.inliner import inline_local_functions

    read = onnx.load_from_string(model)
    if all(weight.data_type != onnx.TensorProto.FLOAT16 for weight in read.graph.initializer):
        for function in read.functions:
            _without_casts(function)
    return bytes(inline_local_functions(read).SerializeToString())


def _without_casts(function: FunctionProto) -> None:
    """Take out of a node's meaning what brings float16 to float32 and back."""
    same = {each.output[0]: each.input[0] for each in function.node if each.op_type in ("Cast", "CastLike")}
    (end,) = function.output
    kept = [each for each in function.node if each.output[0] not in same]
    for each in kept:
        each.input[:] = [same.get(name, name) for name in each.input]
        each.output[0] = end if each.output[0] == same[end] else each.output[0]
    nodes = [type(each).FromString(each.SerializeToString()) for each in kept]
    del function.node[:]
    function.node.extend(nodes)


def _onnx() -> ModuleType:
    try:
        return importlib.import_module("onnx")
    except ImportError:
        raise BackendMissing("a generator with fused nodes needs the package onnx. Run: pip install onnx") from None
