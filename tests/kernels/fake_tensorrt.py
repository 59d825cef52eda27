"""A stand-in for the module ``tensorrt`` below NVIDIA's own `tensorrt.plugin`: symbolic sizes, registry, builder.

The package tensorrt-cu13-bindings has `tensorrt.plugin` as Python; what it imports as ``tensorrt`` is TensorRT itself,
which is on NVIDIA's index only. `load` runs NVIDIA's Python on this stand-in; `build` asks a plugin what TensorRT's
builder would ask it, in the order in which it does.
"""

from __future__ import annotations

import enum
import importlib
import importlib.util
import itertools
import platform
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DataType = enum.Enum("DataType", "FLOAT HALF BF16 INT8 INT32 INT64 FP8 INT4 UINT8 BOOL")
TensorFormat = enum.Enum("TensorFormat", "LINEAR HWC8 HWC CHW32")
QuickPluginCreationRequest = enum.Enum("QuickPluginCreationRequest", "STRICT_AOT STRICT_JIT PREFER_AOT PREFER_JIT")


class DimensionOperation(enum.Enum):
    SUM = "+"
    SUB = "-"
    PROD = "*"
    FLOOR_DIV = "//"
    CEIL_DIV = "ceil"
    MAX = "max"
    MIN = "min"
    EQUAL = "=="
    LESS = "<"


_COMPUTE: dict[DimensionOperation, Callable[[int, int], int]] = {
    DimensionOperation.SUM: lambda a, b: a + b,
    DimensionOperation.SUB: lambda a, b: a - b,
    DimensionOperation.PROD: lambda a, b: a * b,
    DimensionOperation.FLOOR_DIV: lambda a, b: a // b,
    DimensionOperation.CEIL_DIV: lambda a, b: -(-a // b),
    DimensionOperation.MAX: max,
    DimensionOperation.MIN: min,
    DimensionOperation.EQUAL: lambda a, b: int(a == b),
    DimensionOperation.LESS: lambda a, b: int(a < b),
}


class IDimensionExpr:
    """A size that is known when the engine runs: `value` puts the sizes in."""

    def __init__(self, value: Callable[[dict[str, int]], int], constant: int | None = None) -> None:
        self.value, self.constant = value, constant

    def is_constant(self) -> bool:
        return self.constant is not None

    def get_constant_value(self) -> int:
        assert self.constant is not None
        return self.constant


class IExprBuilder:
    def constant(self, value: int) -> IDimensionExpr:
        return IDimensionExpr(lambda _: value, value)

    def operation(self, kind: DimensionOperation, a: IDimensionExpr, b: IDimensionExpr) -> IDimensionExpr:
        compute = _COMPUTE[kind]
        if a.constant is not None and b.constant is not None:
            return self.constant(compute(a.constant, b.constant))
        return IDimensionExpr(lambda sizes: compute(a.value(sizes), b.value(sizes)))


class DimsExprs(list[Any]):
    def __init__(self, dimensions: int | Sequence[IDimensionExpr]) -> None:
        super().__init__([None] * dimensions if isinstance(dimensions, int) else dimensions)


class Dims(tuple[int, ...]):
    MAX_DIMS = 8


@dataclass
class PluginTensorDesc:
    dims: Dims | None = None
    type: Any = None
    format: Any = None
    scale: float = 1.0


@dataclass
class DynamicPluginTensorDesc:
    desc: PluginTensorDesc
    min: Dims
    opt: Dims
    max: Dims


class ISymExpr:
    def __init__(self) -> None:
        self.type: Any = None
        self.dtype: Any = None
        self.expr: Any = None


class _Registry:
    def __init__(self) -> None:
        self.creators: dict[tuple[str, str, str], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> bool:
        self.creators[creator.name, creator.plugin_version, namespace] = creator
        return True

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return self.creators.get((name, version, namespace))


@dataclass
class Kernel:
    """What an engine keeps of a plugin: one choice of formats and tactic."""

    formats: tuple[str, ...]
    tactic: int
    name: str
    code: bytes
    launch: Any  # sizes are `IDimensionExpr`
    numbers: list[IDimensionExpr]

    def sizes(self, **dimensions: int) -> tuple[int, int, int, list[int]]:
        """Blocks, threads a block, bytes of shared memory and the numbers, for tensors of these sizes."""
        grid, threads, shared = (
            getattr(self.launch, key).value(dimensions) for key in ("grid_x", "block_x", "shared_mem")
        )
        for key in ("grid_y", "grid_z", "block_y", "block_z"):
            assert getattr(self.launch, key).value(dimensions) == 1
        return grid, threads, shared, [number.value(dimensions) for number in self.numbers]


def load(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """This stand-in as ``tensorrt``, and NVIDIA's ``tensorrt.plugin`` on top of it; skips the test without that."""
    spec = importlib.util.find_spec("tensorrt_bindings")
    if spec is None or spec.origin is None:
        wheels = (sys.platform, platform.machine()) == ("linux", "x86_64")
        assert not wheels, "the extra `test` brings tensorrt-cu13-bindings, which has NVIDIA's tensorrt.plugin"
        pytest.skip("there is no wheel of tensorrt-cu13-bindings, which has NVIDIA's tensorrt.plugin, for this system")
    module = _module(Path(spec.origin).parent)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorrt"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    plugin = importlib.import_module("tensorrt.plugin")
    # What was imported just now goes again at the end of the test: it belongs to this stand-in.
    for name in [name for name in sys.modules if name.startswith("tensorrt.")]:
        kept = sys.modules.pop(name)
        monkeypatch.setitem(sys.modules, name, kept)
    return module, plugin


def build(trt: Any, name: str, kinds: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> list[Kernel]:
    """All kernels of a plugin that TensorRT would time and choose from.

    Args:
        name: "namespace::name".
        kinds: dtype of each input, as members of `DataType`.
        shapes: of each input; -1 for a size that the engine learns when it runs, called "d0", "d1", ... of input 0.
    """
    namespace, _, short = name.partition("::")
    creator = trt.get_plugin_registry().get_creator(short, "1", namespace)
    plugin = creator.create_plugin(
        short, namespace, trt.PluginFieldCollection([]), "build", QuickPluginCreationRequest.STRICT_AOT
    )
    inputs = [DataType[kind] for kind in kinds]
    outputs = plugin.get_output_data_types(inputs, [len(shape) for shape in shapes])
    builder = IExprBuilder()
    exprs = [
        DimsExprs(
            [
                IDimensionExpr(lambda sizes, key=f"d{i}": sizes[key]) if size < 0 else builder.constant(size)
                for i, size in enumerate(shape)
            ]
        )
        for shape in shapes
    ]
    (output_shape,) = plugin.get_output_shapes(exprs, [], builder)
    marks = {f"d{i}": 1000 + i for i in range(len(shapes[0]))}
    expected = [marks[f"d{i}"] if size < 0 else size for i, size in enumerate(shapes[0])]
    assert [each.value(marks) for each in output_shape] == expected, "the result has the shape of x"
    described = [_described(kind, shape) for kind, shape in zip([*inputs, *outputs], [*shapes, shapes[0]], strict=True)]
    count = len(described)
    flat = plugin.get_supported_format_combinations(described, len(inputs))
    kernels = []
    for at in range(0, len(flat), count):
        kernels += _kernels(plugin, described, flat[at : at + count], len(inputs), exprs, builder)
    return kernels


def _kernels(
    plugin: Any, described: list[Any], combination: list[Any], inputs: int, exprs: list[Any], builder: IExprBuilder
) -> list[Kernel]:
    for each, chosen in zip(described, combination, strict=True):
        each.desc.type, each.desc.format = chosen.type, chosen.format
    plugin.configure_plugin(described[:inputs], described[inputs:])
    kernels = []
    for tactic in plugin.get_valid_tactics() or [0]:
        plugin.set_tactic(tactic)
        launch, numbers = types.SimpleNamespace(), _Numbers()
        plugin.get_launch_params(exprs, described, inputs, launch, numbers, builder)
        plain = [each.desc for each in described]
        name, code = plugin.get_kernel(plain[:inputs], plain[inputs:])
        for key, value in vars(launch).items():  # TensorRT takes the expression out of it
            setattr(launch, key, value.expr)
        formats = tuple(each.format.name for each in plain)
        ordered = [numbers[index].expr for index in range(numbers.nbSymExprs)]
        kernels.append(Kernel(formats, tactic, name, code, launch, ordered))
    return kernels


class _Numbers(dict[int, Any]):
    nbSymExprs = 0  # noqa: N815


def _described(kind: Any, shape: tuple[int, ...]) -> DynamicPluginTensorDesc:
    least, usual, most = (Dims(value if size < 0 else size for size in shape) for value in (1, 64, 512))
    return DynamicPluginTensorDesc(PluginTensorDesc(Dims(shape), kind, TensorFormat.LINEAR), least, usual, most)


def _module(folder: Path) -> Any:
    module: Any = types.ModuleType("tensorrt")
    module.__path__ = [str(folder)]
    registry, number = _Registry(), itertools.count()
    empty = {name: type(name, (), {}) for name in (
        "ITensor", "IPluginV3", "IPluginV3QuickCore", "IPluginV3QuickBuild", "IPluginV3QuickRuntime",
        "IPluginV3QuickAOTBuild", "IPluginCreatorV3Quick", "PluginField",
    )}  # fmt: skip
    fields = ("INT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32", "FLOAT64", "CHAR", "UNKNOWN")
    vars(module).update(
        empty,
        DataType=DataType, TensorFormat=TensorFormat, DimensionOperation=DimensionOperation,
        QuickPluginCreationRequest=QuickPluginCreationRequest, IDimensionExpr=IDimensionExpr, IExprBuilder=IExprBuilder,
        DimsExprs=DimsExprs, Dims=Dims, PluginTensorDesc=PluginTensorDesc, ISymExpr=ISymExpr,
        DynamicPluginTensorDesc=DynamicPluginTensorDesc, PluginFieldCollection=list,
        PluginFieldType=types.SimpleNamespace(**{field: next(number) for field in fields}),
        PluginArgType=types.SimpleNamespace(INT="int"),
        PluginArgDataType=types.SimpleNamespace(INT32="i32", INT16="i16", INT8="i8"),
        TensorRTPhase=types.SimpleNamespace(BUILD="build"), IPluginV3Quick=object, int32=DataType.INT32,
        get_plugin_registry=lambda: registry, Logger=_Logger,
    )  # fmt: skip
    return module


class _Logger:
    WARNING = "warning"

    def log(self, severity: str, message: str) -> None:
        assert "experimental" in message  # it says so of itself
