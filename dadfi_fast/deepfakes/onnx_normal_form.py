"""Rewrites a network into the form that `DeepfakeModel` runs: "image" and "edit" in, "fake" out.

"image" is [B, 3, S, S] float32 in [-1, 1], red, green, blue; "edit" [B, E] chooses one of the E edits (one-hot);
"fake" is as "image". A network of one channel gets the luma Y of "image", and what it makes of that is put back:
"fake" is "image" + Y' - Y, which leaves Cb and Cr as they were. Everything between is the network as it was, with its
names behind a prefix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dadfi_fast.deepfakes.onnx_interface import LUMA, FixedInput, Interface, Range, Values

#: Before the names of the network's own values.
PREFIX: Final = "net."
#: The oldest version of the file format in which weights need not be listed among the inputs.
_IR: Final = 4
#: Shares of red, green and blue in Y (BT.601, as in JPEG).
LUMA_WEIGHTS: Final = (0.299, 0.587, 0.114)
_REVERSED: Final = np.array([2, 1, 0], np.int64)


@dataclass(frozen=True)
class Meaning:
    """What the pictures' values stand for."""

    range: Range  # of the picture that goes in
    output_range: Range
    channels: str  # "rgb" or "bgr", of both; "luma" where there is only one
    output_layout: str  # "nchw" or "nhwc"
    shrink: int = 1  # the output has so many times the side of the input, and is averaged


def normal_form(
    model: onnx.ModelProto, interface: Interface, meaning: Meaning, *, any_batch: bool, raw: bool = False
) -> onnx.ModelProto:
    """A copy of ``model`` in the normal form.

    Args:
        any_batch: take any number of pictures; else one at a time. Whether the network can is not known here.
        raw: leave the output as the network gives it, in its layout and range: for the trial.
    """
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    graph = rewritten.graph
    _rename(graph)
    _prune(graph, PREFIX + interface.output)
    batch: int | str = "batch" if any_batch else 1
    before, after = _Nodes(_opset(model)), _Nodes(_opset(model))
    _write_picture(before, interface, meaning)
    _write_fixed(before, interface.fixed, any_batch=any_batch)
    if raw:
        after.add("Cast", [PREFIX + interface.output], "fake", to=TensorProto.FLOAT)
    else:
        _write_fake(after, PREFIX + interface.output, meaning)
    nodes = [*before.nodes, *graph.node, *after.nodes]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*before.weights, *after.weights])
    side = [interface.size, interface.size]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, *side]))
    graph.input.append(helper.make_tensor_value_info("edit", TensorProto.FLOAT, [batch, len(interface.edits)]))
    shape = None if raw else [batch, 3, *side]
    graph.output.append(helper.make_tensor_value_info("fake", TensorProto.FLOAT, shape))
    rewritten.ir_version = max(rewritten.ir_version, _IR)
    graph.name, graph.doc_string, rewritten.doc_string = "dadfi", "", ""
    del rewritten.metadata_props[:], rewritten.training_info[:], graph.quantization_annotation[:]
    opset = _opset(model)
    del rewritten.opset_import[:]
    rewritten.opset_import.append(helper.make_opsetid("", opset))
    return rewritten


@dataclass
class _Nodes:
    """Nodes and weights that are written around a network."""

    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node with one output, the name of which comes back."""
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def weight(self, name: str, values: Values) -> str:
        """A constant."""
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def affine(self, value: str, scale: Values, shift: Values, name: str) -> str:
        """``value`` [B, C, H, W] times ``scale`` plus ``shift``, [1, C, 1, 1] each."""
        scaled = self.add("Mul", [value, self.weight(f"{name}.scale", scale)], f"{name}.scaled")
        return self.add("Add", [scaled, self.weight(f"{name}.shift", shift)], f"{name}.shifted")

    def clip(self, value: str, output: str, low: float, high: float) -> str:
        if self.opset < 11:
            return self.add("Clip", [value], output, min=low, max=high)
        bounds = {f"{output}.low": low, f"{output}.high": high}
        weights = [self.weight(name, np.array(bound, np.float32)) for name, bound in bounds.items()]
        return self.add("Clip", [value, *weights], output)


def _write_picture(nodes: _Nodes, interface: Interface, meaning: Meaning) -> None:
    value, scale, shift = "image", _planes(meaning.range.scale), _planes(meaning.range.shift)
    if meaning.channels == LUMA:
        weights = nodes.weight("image.weights", _planes(LUMA_WEIGHTS))
        value, scale, shift = nodes.add("Conv", [value, weights], "image.luma"), scale[:, :1], shift[:, :1]
    value = nodes.affine(value, scale, shift, "image")
    if meaning.channels == "bgr":
        value = nodes.add("Gather", [value, nodes.weight("image.order", _REVERSED)], "image.bgr", axis=1)
    if interface.layout == "nhwc":
        value = nodes.add("Transpose", [value], "image.nhwc", perm=[0, 2, 3, 1])
    if interface.dtype.kind in "iu":
        half = nodes.weight("image.half", np.array(0.5, np.float32))
        value = nodes.add("Floor", [nodes.add("Add", [value, half], "image.raised")], "image.whole")
    nodes.add("Cast", [value], PREFIX + interface.picture, to=_element(interface.dtype))


def _write_fixed(nodes: _Nodes, fixed: tuple[FixedInput, ...], *, any_batch: bool) -> None:
    """The further inputs: what the chosen edit gives them."""
    nodes.add("ArgMax", ["edit"], "edit.index", axis=1, keepdims=0)
    for each in fixed:
        name = PREFIX + each.name
        if any_batch and not each.batched:
            nodes.weight(name, each.values[0])
        elif any_batch:
            table = nodes.weight(f"{name}.values", each.values.reshape(len(each.values), *each.shape[1:]))
            nodes.add("Gather", [table, "edit.index"], name, axis=0)
        else:
            table = nodes.weight(f"{name}.values", each.values)
            chosen = nodes.add("Gather", [table, "edit.index"], f"{name}.chosen", axis=0)
            shape = nodes.weight(f"{name}.shape", np.array(each.shape, np.int64))
            nodes.add("Reshape", [chosen, shape], name)


def _write_fake(nodes: _Nodes, output: str, meaning: Meaning) -> None:
    value = nodes.add("Cast", [output], "fake.float", to=TensorProto.FLOAT)
    if meaning.output_layout == "nhwc":
        value = nodes.add("Transpose", [value], "fake.nchw", perm=[0, 3, 1, 2])
    if meaning.channels == "bgr":
        value = nodes.add("Gather", [value, nodes.weight("fake.order", _REVERSED)], "fake.rgb", axis=1)
    scale, shift = _planes(meaning.output_range.scale), _planes(meaning.output_range.shift)
    if meaning.channels == LUMA:
        scale, shift = scale[:, :1], shift[:, :1]
    value = nodes.affine(value, 1 / scale, -shift / scale, "fake")
    if meaning.shrink > 1:
        side = [meaning.shrink, meaning.shrink]
        value = nodes.add("AveragePool", [value], "fake.shrunk", kernel_shape=side, strides=side)
    if meaning.channels == LUMA:  # the change of the luma, for all three channels
        value = nodes.add("Add", ["image", nodes.add("Sub", [value, "image.luma"], "fake.change")], "fake.colours")
    nodes.clip(value, "fake", -1, 1)


def _planes(values: tuple[float, float, float]) -> Values:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)


def _element(dtype: np.dtype[Any]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def _opset(model: onnx.ModelProto) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _rename(graph: onnx.GraphProto) -> None:
    """Put the prefix before all names; a name left empty is an input that is left out."""
    for node in graph.node:
        node.input[:] = [name and PREFIX + name for name in node.input]
        node.output[:] = [name and PREFIX + name for name in node.output]
        node.doc_string = ""
        del node.metadata_props[:]
    for tensor in graph.initializer:
        tensor.name, tensor.doc_string = PREFIX + tensor.name, ""


def _prune(graph: onnx.GraphProto, output: str) -> None:
    """Drop the nodes and weights that ``output`` does not need."""
    needed, kept = {output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)
