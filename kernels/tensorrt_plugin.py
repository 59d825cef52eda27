"""The fused operation as TensorRT plugins: an engine takes the kernel along as PTX, and needs no Python to run.

Written for `tensorrt.plugin` of TensorRT 11.4 and tested with that module's own Python code; **it has never run inside
of TensorRT**. TensorRT launches one kernel a node and gives it no workspace, so the ladder of versions does not
fit: `tensorrt_plugin.cu` has one kernel for every size, which looks at run time whether a plane fits into the shared
memory that it was given. What is left to choose, threads a block, blocks a plane and NCHW or NHWC, TensorRT measures
itself, at the usual shape of each profile; all of it is valid for every shape of every profile.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

from dadfi_fast.errors import BackendMissing
from dadfi_fast.kernels import loader
from dadfi_fast.kernels.choice import SIZES, WARP
from dadfi_fast.ops.node import DOMAIN, NODES, Call

#: Threads of a block, and blocks a plane (of those that are read twice), by the number of the tactic.
TACTICS: Final = {1: (128, 1), 2: (256, 1), 3: (512, 1), 4: (512, 4), 5: (512, 16)}
USUAL: Final = 2
#: Bytes that a block may have without asking the driver for more, which TensorRT is not known to do.
SHARED_BYTES: Final = 48 * 1024
#: Floats of scratch a warp and statistic: two for the center's sample, four for count, center, mean and squares.
SCRATCH: Final = 6
#: Widest run of neighbouring channels that a block works on, bytes.
SPAN: Final = 64

#: TensorRT's name of a dtype (a member of ``DataType``), ours, and what `AutoTuneCombination` calls it.
_DTYPES: Final = {"FLOAT": ("f32", "FP32"), "HALF": ("f16", "FP16"), "BF16": ("bf16", "BF16")}
#: How weight and bias may be stored, by the number that the kernels use.
_STORED: Final = {"f32": 0, "f16": 1, "bf16": 2}
#: TensorRT's channels-last formats. Channels fill whole vectors, so that the padding of HWC8 is none.
_CHANNELS_LAST: Final = {"f32": "HWC", "f16": "HWC8", "bf16": "HWC8"}


@functools.cache
def register() -> None:
    """Make the plugins known to TensorRT, for this process; its ONNX parser then finds them by the nodes' names.

    Raises:
        BackendMissing: tensorrt or NVRTC is not installed.
    """
    if (why := loader.missing()) is not None:
        raise BackendMissing(f"the kernels cannot go into an engine: {why}")
    try:
        trt, plugin = (importlib.import_module(name) for name in ("tensorrt", "tensorrt.plugin"))
    except (ImportError, OSError) as error:
        raise BackendMissing(f"cannot load tensorrt ({error}). Run: pip install 'dadfi-fast[tensorrt]'") from error
    for name, call in NODES.items():
        define(trt, plugin, name, call)


def define(trt: Any, plugin: Any, name: str, call: Call) -> None:
    """Register one plugin: what it puts out, the formats and tactics that it has, and its kernel.

    Args:
        trt: the module ``tensorrt``.
        plugin: the module ``tensorrt.plugin``.
        name: of `NODES`.
        call: what the plugin computes.
    """
    inputs = ["x", "weight", "bias"] + ["residual"] * call.residual
    tensor, many = plugin.TensorDesc, tuple[plugin.TensorDesc]
    describe = _signed(lambda x, *_: x.like(), dict.fromkeys(inputs, tensor), tensor)
    tune = _signed(lambda *given: combinations(plugin, given[:-1]), dict.fromkeys([*inputs, "outputs"]), None)
    aot = _signed(
        lambda *given: kernel(trt, plugin, call, given[:-2], given[-1]),
        {**dict.fromkeys(inputs, tensor), "outputs": many, "tactic": int},
        tuple[str, str, plugin.KernelLaunchParams, plugin.SymExprs],
    )
    for decorate, function in ((plugin.register, describe), (plugin.autotune, tune), (plugin.aot_impl, aot)):
        decorate(f"{DOMAIN}::{name}")(function)


def combinations(plugin: Any, inputs: Sequence[Any]) -> list[Any]:
    """What TensorRT may choose from: the dtypes that the network says, NCHW, and NHWC where channels fill vectors."""
    x = inputs[0]
    dtype = _DTYPES[x.dtype.name][0]
    types = ", ".join(_DTYPES[each.dtype.name][1] for each in (*inputs, x))
    offered = [plugin.AutoTuneCombination(types, "LINEAR", list(TACTICS))]
    if x.shape[1] > 0 and x.shape[1] % _width(dtype) == 0:
        last = _CHANNELS_LAST[dtype]
        layouts = ", ".join([last, "LINEAR", "LINEAR", *[last] * (len(inputs) - 3), last])
        offered.append(plugin.AutoTuneCombination(types, layouts, list(TACTICS)))
    return offered


def kernel(trt: Any, plugin: Any, call: Call, inputs: Sequence[Any], tactic: int) -> tuple[str, str, Any, Any]:
    """Name, PTX, launch and numbers of one kernel, as `tensorrt.plugin.aot_impl` wants them.

    Args:
        trt: the module ``tensorrt``.
        plugin: the module ``tensorrt.plugin``.
        call: what the plugin computes.
        inputs: their descriptions; the dtype and format that TensorRT has chosen are in them.
        tactic: of `TACTICS`; another one (TensorRT's default is 0) is the usual one.
    """
    x, weight = inputs[:2]
    dtype, stored = (_DTYPES[each.dtype.name][0] for each in (x, weight))
    last = x.format != trt.TensorFormat.LINEAR
    batch, channels, height, width = x.shape_expr
    pixels, vector = height * width, _width(dtype)
    columns = _columns(x.shape[1], dtype) if last else 1
    # Symbolic from here on: TensorRT puts the sizes in when the engine runs.
    teams = batch * plugin.cdiv(channels, columns * vector) if last else batch * channels
    vectors = pixels * columns if last else plugin.cdiv(pixels + (vector - 1), vector)
    threads, parts = TACTICS.get(tactic, TACTICS[USUAL])
    scratch = 4 * SCRATCH * (threads // WARP + 1) * columns * (vector if last else 1)
    room = (SHARED_BYTES - scratch) // 16
    held = vectors * (vectors < room + 1)  # 0 where a plane does not fit
    launch = plugin.KernelLaunchParams(grid_x=teams * parts, block_x=threads, shared_mem=held * 16 + scratch)
    values = (channels, pixels, room, parts, columns.bit_length() - 1, _STORED[stored], int(call.relu))
    numbers = plugin.SymIntExprs(len(values))
    for index, value in enumerate(values):
        numbers[index] = plugin.SymInt32(value)
    suffix = f"{dtype}_{'nhwc' if last else 'nchw'}"
    return f"plugin_{'residual_' * call.residual}{suffix}", ptx(suffix, call.residual, _capability()), launch, numbers


@functools.cache
def ptx(suffix: str, residual: bool, capability: tuple[int, int]) -> str:
    """One kernel, ``f16_nchw`` and the like, for GPUs of this compute capability and newer ones."""
    return loader.compile_ptx(loader.FOLDER / "tensorrt_plugin.cu", capability, f"PLUGIN={macro(suffix, residual)}")


def macro(suffix: str, residual: bool) -> str:
    """What the source calls the kernel."""
    dtype, _, layout = suffix.partition("_")
    kind = "RESIDUAL" if residual else "PLAIN"
    return f"{kind}({suffix}, {dtype.upper()}, {_width(dtype)}, {'true' if layout == 'nhwc' else 'false'})"


def _capability() -> tuple[int, int]:
    """Of the current GPU, for which TensorRT builds."""
    capability = loader.cuda_core().Device().compute_capability
    return capability.major, capability.minor


def _width(dtype: str) -> int:
    """Numbers of a 16-byte access."""
    return 16 // SIZES[dtype]


def _columns(channels: int, dtype: str) -> int:
    """Vectors of channels that a block has side by side: a power of two, no more than there are."""
    columns = 1
    while columns * _width(dtype) < channels and 2 * columns * 16 <= SPAN:
        columns *= 2
    return columns


def _signed(function: Callable[..., Any], parameters: dict[str, Any], returns: Any) -> Callable[..., Any]:
    """The function with the signature that TensorRT is to read: names, and types that are none of ``annotations``."""
    empty = inspect.Parameter.empty
    signed = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=empty if kind is None else kind)
        for name, kind in parameters.items()
    ]
    function.__signature__ = inspect.Signature(signed, return_annotation=empty if returns is None else returns)  # type: ignore[attr-defined]
    return function
