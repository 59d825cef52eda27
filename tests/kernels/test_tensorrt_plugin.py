"""The TensorRT plugins: what they tell NVIDIA's own Python, and their kernels launched as it then says, on a CPU.

TensorRT itself, which would choose, time and launch them, is not there: see `fake_tensorrt`.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import re
from typing import Any

import fake_tensorrt
import numpy as np
import onnx
import pytest
import torch
from cases import DTYPES, EXTREMES, inputs, largest_error, truth_and_bound
from fake_tensorrt import Kernel
from host import HostMachine, Launch, blank
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import Tensor

from dadfi_fast.backends.float16 import to_float16
from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.errors import BackendMissing
from dadfi_fast.export.fused import fuse
from dadfi_fast.kernels import loader, tensorrt_plugin
from dadfi_fast.kernels.choice import SIZES, Gpu
from dadfi_fast.ops.instance_norm_residual import EPS
from dadfi_fast.ops.node import DOMAIN, NODES, Call, bare, name_of
from dadfi_fast.types import LEVELS

pytestmark = pytest.mark.slow

LAYOUTS = ("nchw", "nhwc")
KINDS = {torch.float32: "FLOAT", torch.float16: "HALF", torch.bfloat16: "BF16"}
SHAPES = [
    (1, 8, 1, 2),  # less than one vector
    (2, 8, 5, 3),  # planes begin in the middle of a vector
    (2, 16, 9, 7),  # first and last vector of a plane are partial
    (3, 24, 7, 11),  # NHWC: the last block has fewer channels than the others
    (1, 40, 33, 19),  # more than a warp, several blocks a picture
    (1, 8, 75, 75),  # NCHW: held; NHWC: more than a block's shared memory
    (1, 8, 163, 161),  # more than a block's shared memory in both, odd
]


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in with the four plugins registered; PTX is a word."""
    module, plugin = fake_tensorrt.load(monkeypatch)
    monkeypatch.setattr(tensorrt_plugin, "ptx", lambda *what: f"ptx of {what}")
    monkeypatch.setattr(tensorrt_plugin, "_capability", lambda: (8, 9))
    for name, call in NODES.items():
        tensorrt_plugin.define(module, plugin, name, call)
    return module


def kernels(trt: Any, call: Call, dtype: torch.dtype, channels: int, stored: torch.dtype | None = None) -> list[Kernel]:
    x, vector = (-1, channels, -1, -1), (channels,)
    kinds = [KINDS[dtype], *[KINDS[stored or dtype]] * 2, *[KINDS[dtype]] * call.residual]
    shapes = [x, vector, vector, *[x] * call.residual]
    return fake_tensorrt.build(trt, f"dadfi::{name_of(call)}", kinds, shapes)


def run(library: ctypes.CDLL, kernel: Kernel, arguments: tuple[Tensor | None, ...], *, order: int = 0) -> Tensor:
    """Launch as an engine would: on memory in the format that the kernel asked for."""
    x, weight, bias, residual = arguments
    layout = torch.contiguous_format if kernel.formats[0] == "LINEAR" else torch.channels_last
    planes = [None if t is None else t.contiguous(memory_format=layout) for t in (x, residual)]
    out = blank(*x.shape, dtype=x.dtype).contiguous(memory_format=layout)
    batch, _, height, width = x.shape
    grid, threads, shared, numbers = kernel.sizes(d0=batch, d2=height, d3=width)
    assert shared <= tensorrt_plugin.SHARED_BYTES
    tensors = [planes[0], weight, bias, *planes[1:]] if residual is not None else [planes[0], weight, bias]
    machine = HostMachine(library, Gpu((8, 9), shared, 1), order)
    machine.run(kernel.name, Launch(grid, threads, 1, shared, order), (*tensors, *numbers, out), writable=(out,))
    return out


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_kernel_that_tensorrt_may_choose_agrees_with_float64(
    trt: Any, library: ctypes.CDLL, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    for seed, call in enumerate(NODES.values()):
        x, weight, bias, residual = inputs(shape, dtype, torch.contiguous_format, seed)
        arguments = (x, weight, bias, residual if call.residual else None)
        truth, bound = truth_and_bound(*arguments, relu=call.relu)
        choices = kernels(trt, call, dtype, shape[1])
        assert {each.tactic for each in choices} == set(tensorrt_plugin.TACTICS)
        # What takes the CPU long: each kernel for one of the calls.
        for each in choices if math.prod(shape) < 300 else choices[seed :: len(NODES)]:
            assert largest_error(run(library, each, arguments, order=seed), truth) <= bound, each


def test_small_planes_are_held_and_large_ones_are_not(trt: Any) -> None:
    """Shared memory tells: 48 KB hold a plane of 150 x 150 float16 in NCHW, not one of 160 x 160."""
    kernel = kernels(trt, NODES["InstanceNorm"], torch.float16, 8)[0]
    small, large = (kernel.sizes(d0=1, d2=side, d3=side)[2] for side in (150, 160))
    assert small >= 150 * 150 * 2 and large < 2048


@pytest.mark.parametrize("shape", [(1, 8, 163, 161), (2, 8, 97, 89)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_all_blocks_of_a_plane_agree(
    trt: Any, library: ctypes.CDLL, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Each makes the statistics by itself: to the same bits, or edges between their parts would show."""
    x, weight, bias, residual = inputs(shape, dtype, torch.contiguous_format, seed=3)
    choices = {(each.formats[0], each.tactic): each for each in kernels(trt, NODES["InstanceNormResidual"], dtype, 8)}
    for (form, tactic), each in choices.items():
        if tensorrt_plugin.TACTICS[tactic][1] > 1:
            one = run(library, choices[form, 3], (x, weight, bias, residual))
            assert torch.equal(run(library, each, (x, weight, bias, residual), order=tactic), one)


@pytest.mark.parametrize("values", EXTREMES)
@pytest.mark.parametrize("side", [37, 163])
def test_hard_values(trt: Any, library: ctypes.CDLL, values: str, side: int) -> None:
    x, weight, bias, _ = inputs((1, 8, side, 41), torch.float16, torch.contiguous_format, seed=2)
    arguments = (EXTREMES[values](x), weight, bias, None)
    truth, bound = truth_and_bound(*arguments, relu=False)
    for each in kernels(trt, NODES["InstanceNorm"], torch.float16, 8)[1::5]:
        assert largest_error(run(library, each, arguments), truth) <= bound


def test_weight_and_bias_may_stay_float32(trt: Any, library: ctypes.CDLL) -> None:
    """As in the file in float16: planes narrow, parameters wide."""
    x, weight, bias, residual = inputs((2, 8, 6, 5), torch.float16, torch.contiguous_format, seed=6)
    arguments = (x, weight.float() * 1.0078125, bias.float() + 0.001, residual)
    truth, bound = truth_and_bound(*arguments, relu=True)
    for each in kernels(trt, NODES["InstanceNormReluResidual"], torch.float16, 8, stored=torch.float32):
        assert largest_error(run(library, each, arguments), truth) <= bound


@pytest.mark.parametrize(("narrow", "last"), [(False, "LINEAR"), (True, "LINEAR"), (True, "HWC8")], ids=str)
def test_the_exported_file_runs_on_them(trt: Any, library: ctypes.CDLL, narrow: bool, last: str) -> None:
    """The file that TensorRT is given, node by node: ours by the kernel that it would launch, others by ONNX's own."""
    plain = load_generator_file()
    fused = fuse(plain.onnx.read_bytes())
    built: dict[tuple[str, int], Kernel] = {}

    def node_of(name: str, call: Call) -> type[OpRun]:
        def _run(self: OpRun, x: Any, weight: Any, bias: Any, residual: Any = None, **_: object) -> tuple[Any]:
            arguments = [None if each is None else torch.tensor(each) for each in (x, weight, bias, residual)]
            if (name, x.shape[1]) not in built:
                choices = kernels(trt, call, arguments[0].dtype, x.shape[1], stored=arguments[1].dtype)
                built[name, x.shape[1]] = next(each for each in choices if each.formats[0] == last)
            return (run(library, built[name, x.shape[1]], tuple(arguments)).contiguous().numpy(),)

        return type(name, (OpRun,), {"op_domain": DOMAIN, "_run": _run})

    model = onnx.load_from_string(bare(to_float16(fused) if narrow else fused))
    ours = ReferenceEvaluator(model, new_ops=[node_of(name, call) for name, call in NODES.items()])
    crops = np.random.default_rng(0).uniform(-1, 1, (1, 3, 20, 28)).astype(np.float32)
    (delta,) = ours.run(None, {"crops": crops})
    assert len(built) == 4  # with a ReLU at 8, 16 and 32 channels, with a residual at 32
    assert np.abs(delta - OnnxRuntime(plain, threads=1)(crops)).max() * LEVELS < (0.25 if narrow else 0.001)


@pytest.mark.parametrize(
    ("dtype", "channels", "formats"),
    [
        (torch.float16, 8, "HWC8 LINEAR"),
        (torch.bfloat16, 24, "HWC8 LINEAR"),
        (torch.float32, 12, "HWC LINEAR"),
        (torch.float16, 12, "LINEAR"),  # HWC8 would be padded
        (torch.float32, 3, "LINEAR"),
        (torch.float16, -1, "LINEAR"),  # not known when the engine is built
    ],
    ids=str,
)
def test_formats(trt: Any, dtype: torch.dtype, channels: int, formats: str) -> None:
    choices = kernels(trt, NODES["InstanceNormResidual"], dtype, channels)
    assert {each.formats[0] for each in choices} == set(formats.split())
    for each in choices:
        x, weight, bias, residual, out = each.formats
        assert x == residual == out and weight == bias == "LINEAR"


def test_a_strange_tactic_is_the_usual_one(trt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT's own default is 0."""
    sizes = {
        each.tactic: each.sizes(d0=5, d2=4, d3=4) for each in kernels(trt, NODES["InstanceNorm"], torch.float32, 3)
    }
    assert {tactic: (each[1], each[0] // 15) for tactic, each in sizes.items()} == tensorrt_plugin.TACTICS
    monkeypatch.setattr(tensorrt_plugin, "combinations", lambda plugin, inputs: [])
    (only,) = kernels(trt, NODES["InstanceNorm"], torch.float32, 3)
    assert (only.tactic, only.sizes(d0=1, d2=4, d3=4)[1]) == (0, sizes[tensorrt_plugin.USUAL][1])


def test_the_kernels_round_as_the_operation_does() -> None:
    source = (loader.FOLDER / "tensorrt_plugin.cu").read_text()
    (eps,) = re.findall(r"constexpr float EPS = ([0-9.e-]+)f;", source)
    assert float(eps) == EPS


def test_nodes_have_one_name_each() -> None:
    assert len(set(NODES.values())) == len(NODES) == 4
    assert all(name_of(call) == name for name, call in NODES.items())


#: The source knows two kinds of GPUs, before 9.0 and from there on: every kernel for one of each kind.
CODE = [
    *itertools.product([f"{dtype}_{layout}" for dtype in SIZES for layout in LAYOUTS], [False, True], [(8, 0), (9, 0)]),
    *(("bf16_nhwc", True, capability) for capability in ((8, 6), (8, 9), (10, 0), (12, 0))),
]


@pytest.mark.parametrize(("suffix", "residual", "capability"), CODE, ids=str)
def test_the_code_that_goes_into_the_engine(suffix: str, residual: bool, capability: tuple[int, int]) -> None:
    """PTX for this GPU, with the arguments in TensorRT's order: tensors, seven numbers, the tensor that is written."""
    if (why := loader.missing()) is not None:
        pytest.skip(why)
    text = tensorrt_plugin.ptx(suffix, residual, capability)
    assert f".target sm_{capability[0]}{capability[1]}" in text
    ((name, arguments),) = re.findall(r"\.entry (\w+)\(([^)]*)\)", text)
    assert name == f"plugin_{'residual_' * residual}{suffix}"
    sizes = [re.findall(r"\.[ub](\d+)", each)[0] for each in arguments.split(",")]
    assert sizes == ["64"] * (3 + residual) + ["32"] * 7 + ["64"]


def test_without_nvrtc_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "missing", lambda: "NVRTC is not there")
    with pytest.raises(BackendMissing, match="cannot go into an engine: NVRTC is not there"):
        tensorrt_plugin.register.__wrapped__()


def test_without_tensorrt_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "missing", lambda: None)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(BackendMissing, match=r"cannot load tensorrt .* Run: pip install 'dadfi-fast\[tensorrt\]'"):
        tensorrt_plugin.register.__wrapped__()
