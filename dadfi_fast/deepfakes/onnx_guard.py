"""Reads an ONNX file that anybody may have made, and refuses what must not be run. Nothing in it is executed here.

What is declared is bounded before anything of that size is allocated: the weights, and the shapes of all values for one
picture. What cannot be bounded (control flow, functions, other files, operators of other libraries) is refused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
from onnx import defs, helper

from dadfi_fast.errors import UsageError, WeightsError

#: Bytes of a file, and of the weights that it declares; ONNX files with their weights inside end at 2 GiB.
MAX_BYTES: Final = 2_000_000_000
#: Elements of one value for one picture: 1 GB of float32. Layers of 64 channels at 1024 px have a quarter of that.
MAX_ELEMENTS: Final = 1 << 28
MAX_NODES: Final = 100_000
#: The oldest and newest versions of the operators (opset) that are taken.
OLDEST: Final = 9
#: Operators that run other graphs, as often as their data says.
CONTROL: Final = frozenset({"If", "Loop", "Scan", "SequenceMap"})
#: Operators whose output has a size that depends on data.
SIZED_BY_DATA: Final = frozenset({"Compress", "NonMaxSuppression", "NonZero", "StringSplit", "Unique"})
#: Operators that give another output each time.
RANDOM: Final = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def read_network(path: Path) -> onnx.ModelProto:
    """The network in ``path``, which is safe to rewrite; whether it can be run is not tried.

    Raises:
        UsageError: there is no such file.
        WeightsError: it is no ONNX file, or something in it is refused; the message says what.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    if path.stat().st_size > MAX_BYTES:
        raise WeightsError(f"{path} is refused: it is larger than {MAX_BYTES / 1e9:g} GB")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
        known = model.ir_version > 0 and len(model.graph.node) > 0
    except Exception as error:  # protobuf's own class, which several packages may bring
        raise WeightsError(f"{path} is not an ONNX file, or is truncated") from error
    if not known:
        raise WeightsError(f"{path} is not an ONNX file, or has no nodes")
    reason = next(_reasons(model), None)
    if reason:
        raise WeightsError(f"{path} is refused: {reason}")
    _check(model, path)
    return model


def require_bounded(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """The shapes that can be told without running ``model``, by the names of the values; None for unknown lengths.

    Raises:
        WeightsError: a value is too large for one picture.
    """
    shapes: dict[str, tuple[int | None, ...]] = {}
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = shape_of(value)
    for name, shape in shapes.items():
        if math.prod(length or 1 for length in shape) > MAX_ELEMENTS:
            size = " x ".join(str(length or "?") for length in shape)
            raise WeightsError(f"the network is refused: value {name!r} is too large for one picture: {size}")
    return shapes


def shape_of(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """The declared shape; None for each length that is symbolic or unknown, which some exporters write as 0 or -1."""
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim)


def _reasons(model: onnx.ModelProto) -> Iterator[str]:
    """Why the network is refused, the first reason first."""
    if model.functions:
        yield f"it has functions of its own ({model.functions[0].name}). Inline them first (onnx.inliner)"
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset, newest = versions.get("", versions.get("ai.onnx", 0)), defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        yield f"it needs version {opset} of the ONNX operators; versions {OLDEST} to {newest} can be read"
    if len(model.graph.node) > MAX_NODES:
        yield f"it has {len(model.graph.node):,} nodes; {MAX_NODES:,} is the limit"
    for node in model.graph.node:
        yield from _node_reasons(node, opset)
    attributes = (attribute for node in model.graph.node for attribute in node.attribute)
    if model.graph.sparse_initializer or any(a.HasField("sparse_tensor") or a.sparse_tensors for a in attributes):
        yield "it has sparse weights"
    yield from _tensor_reasons(model)
    yield from _name_reasons(model.graph)


def _node_reasons(node: onnx.NodeProto, opset: int) -> Iterator[str]:
    if node.domain not in ("", "ai.onnx"):
        yield f"its operator {node.op_type} is of the domain {node.domain!r}; only standard ONNX operators are run"
    elif not defs.has(node.op_type) or not _since(node.op_type, opset):
        yield f"there is no operator {node.op_type} in version {opset} of ONNX"
    if node.op_type in CONTROL:
        yield f"it has control flow ({node.op_type}), the cost of which cannot be bounded. Simplify it first (onnxsim)"
    if node.op_type in RANDOM:
        yield f"its operator {node.op_type} gives another output each time. Export it without noise"
    if any(attribute.g.node or attribute.graphs for attribute in node.attribute):
        yield f"its operator {node.op_type} has a subgraph"


def _since(op_type: str, opset: int) -> bool:
    try:
        schema = defs.get_schema(op_type, opset)
    except defs.SchemaError:
        return False
    return not schema.deprecated


def _tensor_reasons(model: onnx.ModelProto) -> Iterator[str]:
    total = 0
    for tensor in _tensors(model.graph):
        name = tensor.name or "(unnamed)"
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            where = {entry.key: entry.value for entry in tensor.external_data}.get("location", "another file")
            yield f"its weight {name} lies in another file ({where}). Save the network as one file"
        if any(length < 0 for length in tensor.dims):
            yield f"its weight {name} has a negative length"
        count, size = math.prod(tensor.dims), _bytes_each(tensor.data_type)
        if size is None:
            yield f"its weight {name} has an unsupported type (type {tensor.data_type})"
            continue
        total += count * size
        if total > MAX_BYTES:
            yield f"its weights take more than {MAX_BYTES / 1e9:g} GB as they are declared"
        if tensor.HasField("raw_data") and len(tensor.raw_data) != count * size:
            yield f"its weight {name} holds {len(tensor.raw_data):,} bytes and is declared to have {count * size:,}"
        if not tensor.HasField("raw_data") and _entries(tensor) != count:
            yield f"its weight {name} holds {_entries(tensor):,} values and is declared to have {count:,}"


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _bytes_each(data_type: int) -> int | None:
    """Bytes of an element; None for text, and for numbers that are packed or that numpy does not have."""
    try:
        dtype = helper.tensor_dtype_to_np_dtype(data_type)
    except (KeyError, ValueError, TypeError):
        return None
    return int(dtype.itemsize) if dtype.kind in "fiub" else None


def _entries(tensor: onnx.TensorProto) -> int:
    """Values in the fields of numbers, of which a tensor uses one."""
    return max(
        len(tensor.float_data), len(tensor.double_data), len(tensor.int32_data), len(tensor.int64_data),
        len(tensor.uint64_data),
    )  # fmt: skip


def _name_reasons(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that two values have; an older file lists its weights among the inputs too, and that is none."""
    weights = {tensor.name for tensor in graph.initializer}
    names = [tensor.name for tensor in graph.initializer]
    names += [value.name for value in graph.input if value.name not in weights]
    names += [name for node in graph.node for name in node.output if name]
    twice = [name for name, count in Counter(names).items() if count > 1]
    twice += [name for name, count in Counter(value.name for value in graph.input).items() if count > 1]
    if twice:
        yield f"two of its values have the name {twice[0]!r}"


def _check(model: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker's class, or protobuf's
        raise WeightsError(f"{path} is not a valid ONNX file: {' '.join(str(error).split())[:300]}") from error
