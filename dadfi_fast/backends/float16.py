"""A generator's ONNX file in float16, with the statistics of its norms in float32.

The file says every type itself (Cast before and after what stays wide), so that a strongly typed runtime and one that
chooses by itself compute the same thing. What goes in and what comes out stays float32.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Final

from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.ops.node import DOMAIN, NODES

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

#: Stored in float16: what convolutions, which take the time, read and write, and what works on each value alone. Fused
#: nodes read and write float16 and compute in float32; their weight and bias stay float32.
NARROW: Final = frozenset({"Conv", "ConvTranspose", "Relu", "Add", *NODES})
#: Operators of a generator's gate, besides Mul.
_GATE: Final = frozenset({"AveragePool", "ReduceMean", "MaxPool", "Neg", "Sub", "Div", "Clip", "Max", "Resize"})
#: Computed in float32: sums over a whole plane, the gate, and the last two steps, whose result is the perturbation. In
#: a file in float32 a Cast goes to float32, too.
WIDE: Final = _GATE | {"InstanceNormalization", "Tanh", "Mul", "Cast"}


def missing() -> str | None:
    """What the conversion needs and does not find here."""
    if importlib.util.find_spec("onnx") is None:
        return "float16 needs the package onnx; run: pip install onnx"
    return None


def to_float16(model: bytes) -> bytes:
    """The generator ``model`` (ONNX) in float16; one that is in float16 already is returned as it is.

    Raises:
        BackendMissing: the package onnx is not installed.
        UsageError: the file has an operator that no generator of ours has.
    """
    if (why := missing()) is not None:
        raise BackendMissing(why)
    import onnx

    graph = onnx.load_from_string(model)
    if is_float16(graph):
        return model
    strange = {node.op_type for node in graph.graph.node} - NARROW - WIDE
    if strange:
        raise UsageError(
            f"cannot convert to float16: this file is not a generator; it has {', '.join(sorted(strange))}"
        )
    _Narrowing(graph).run()
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString())


def is_float16(model: ModelProto) -> bool:
    """Whether the weights of convolutions are float16."""
    import onnx

    return any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in model.graph.initializer)


class _Narrowing:
    """One conversion: which tensors are float16 so far, and the nodes written anew."""

    def __init__(self, model: ModelProto) -> None:
        self.model, self.graph = model, model.graph
        self.weights = {weight.name: weight for weight in model.graph.initializer}
        self.narrow: set[str] = set()  # tensors that are float16
        self.nodes: list[NodeProto] = []
        self.casts: dict[str, str] = {}

    def run(self) -> None:
        """Change the model in place."""
        ends = {value.name for value in self.graph.output}
        for node in self.graph.node:
            narrow = node.op_type in NARROW
            wide = (1, 2) if node.domain == DOMAIN else ()
            for index, name in enumerate(node.input):
                node.input[index] = self._as(name, narrow=narrow and index not in wide)
            self.nodes.append(node)
            if narrow:
                self.narrow.update(node.output)
            assert not (narrow and ends & set(node.output)), "a generator's output stays float32"
        del self.graph.node[:]
        del self.graph.value_info[:]  # they name the types that were
        self.graph.node.extend(self.nodes)

    def _as(self, name: str, *, narrow: bool) -> str:
        """The tensor ``name``, or the one that it was cast to."""
        if name in self.weights:
            return self._weight(name) if narrow else name
        if (name in self.narrow) == narrow:
            return name
        if name not in self.casts:
            self.casts[name] = self._cast(name, narrow=narrow)
        return self.casts[name]

    def _cast(self, name: str, *, narrow: bool) -> str:
        import onnx

        kind, suffix = (onnx.TensorProto.FLOAT16, "f16") if narrow else (onnx.TensorProto.FLOAT, "f32")
        to = f"{name}.{suffix}"
        self.nodes.append(onnx.helper.make_node("Cast", [name], [to], name=f"cast.{to}", to=kind))
        return to

    def _weight(self, name: str) -> str:
        """The weight, stored as float16 from now on; those of convolutions serve no norm."""
        import onnx

        weight = self.weights[name]
        if weight.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(weight).astype("float16")
            weight.CopyFrom(onnx.numpy_helper.from_array(values, name))
        return name
