"""PyTorch modules to ONNX files: plain operators, dynamic batch (and size), the facts inside as metadata.

The fused op `dadfi::instance_norm_residual` becomes InstanceNormalization, Relu and Add, which every runtime has.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import opset18 as op
from torch import Tensor, nn

from dadfi_fast.backends.generator_file import Shape
from dadfi_fast.models.generator import MULTIPLE, Generator
from dadfi_fast.ops.instance_norm_residual import EPS

OPSET = 18


def export_generator(generator: Generator, path: Path) -> None:
    """Write ``generator`` to ``path``: input "crops" [B, 3, H, W], output "delta", all of B, H, W dynamic, float32."""
    height, width = (MULTIPLE * torch.export.Dim(name, min=4) for name in ("h", "w"))
    shapes = ({0: torch.export.Dim("batch"), 2: height, 3: width},)
    facts = Shape(generator.preset, generator.lim, generator.gated).metadata
    example = (torch.zeros(2, 3, 64, 64),)
    export_module(generator, path, example=example, inputs=["crops"], output="delta", shapes=shapes, facts=facts)


def export_module(
    module: nn.Module,
    path: Path,
    *,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    output: str,
    shapes: tuple[object, ...],
    facts: Mapping[str, str],
    half: bool = False,
    fold: bool = True,
) -> None:
    """Write any module to ``path``.

    Args:
        module: called with ``example``; put in evaluation mode and on the CPU.
        example: inputs to trace with.
        inputs: names of the inputs.
        output: name of the one output.
        shapes: dynamic shapes, as `torch.export.export` takes them.
        facts: metadata that the file carries.
        half: store the weights as float16 (they are cast up when the model is loaded; arithmetic stays float32).
        fold: let the exporter fold norms into convolutions; False keeps every weight under its name in the state dict.
    """
    table: dict[Any, Any] = {torch.ops.dadfi.instance_norm_residual.default: _instance_norm_residual}
    with _quiet():
        program = torch.onnx.export(
            module.eval().cpu(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=shapes,
            custom_translation_table=table,
            optimize=fold,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for entry in (*model.graph.node, *model.graph.value_info):
        del entry.metadata_props[:]  # the exporter's notes hold paths of the machine that it ran on
        entry.doc_string = ""
    if half:
        _halve(model)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages and functions of its own that are of no concern to a user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _instance_norm_residual(x, weight, bias, residual=None, relu=False, eps=EPS):  # type: ignore[no-untyped-def]
    out = op.InstanceNormalization(x, weight, bias, epsilon=eps)
    if relu:
        out = op.Relu(out)
    return out if residual is None else op.Add(out, residual)


def _halve(model: onnx.ModelProto) -> None:
    """Store float32 weights as float16 behind a Cast; what is small (biases, constants) stays as it is."""
    for index, weight in enumerate(model.graph.initializer):
        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        values = onnx.numpy_helper.to_array(weight)
        stored = onnx.numpy_helper.from_array(values.astype("float16"), f"{weight.name}.f16")
        cast = onnx.helper.make_node("Cast", [stored.name], [weight.name], to=onnx.TensorProto.FLOAT)
        model.graph.initializer[index].CopyFrom(stored)
        model.graph.node.insert(0, cast)
