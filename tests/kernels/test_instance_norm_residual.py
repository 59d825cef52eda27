"""The kernels against float64: all versions, dtypes and layouts, odd sizes, hard values."""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from cases import (
    DTYPES,
    EXTREMES,
    LARGE_SHAPES,
    LAYOUTS,
    NARROW_SHAPES,
    SHAPES,
    inputs,
    largest_error,
    truth_and_bound,
)
from host import HostMachine
from torch import Tensor

from dadfi_fast.errors import UsageError
from dadfi_fast.kernels import choice
from dadfi_fast.kernels.binding import fused
from dadfi_fast.kernels.choice import VERSIONS, Gpu

#: GPUs that the CPU stands in for.
HOPPER = Gpu((9, 0), 232448, 132)
#: With so little shared memory that small planes need a cluster.
CRAMPED = Gpu((9, 0), 8192, 2)

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout).split(".")[-1])
each_version = pytest.mark.parametrize("version", VERSIONS)
Run = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def no_plans_kept() -> Iterator[None]:
    """Plans that are made under changed settings must not outlive them."""
    yield
    choice.plan.cache_clear()


@pytest.fixture(params=["host", pytest.param("cuda", marks=pytest.mark.gpu)])
def run(request: pytest.FixtureRequest) -> Run:
    """Calls `fused` on the shim, or on a GPU and brings the result back; skips what that GPU cannot do."""

    def call(*arguments: Tensor | None, version: str, gpu: Gpu = HOPPER, order: int = 0, relu: bool = False) -> Tensor:
        if request.param == "host":
            library: ctypes.CDLL = request.getfixturevalue("library")
            return fused(*arguments, relu, version=version, on=HostMachine(library, gpu, order))
        moved = [None if t is None else t.cuda() for t in arguments]
        try:
            return fused(*moved, relu, version=version).cpu()
        except UsageError as error:
            pytest.skip(str(error))

    return call


def gpu_of(version: str) -> Gpu:
    return CRAMPED if version == "cluster" else HOPPER


@each_version
@each_layout
@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_float64(
    run: Run, shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format, version: str
) -> None:
    for seed, (relu, added) in enumerate([(False, False), (True, False), (False, True), (True, True)]):
        x, weight, bias, residual = inputs(shape, dtype, layout, seed)
        arguments = (x, weight, bias, residual if added else None)
        out = run(*arguments, version=version, gpu=gpu_of(version), order=seed, relu=relu)
        truth, bound = truth_and_bound(*arguments, relu=relu)
        assert out.dtype == dtype and out.shape == x.shape
        assert largest_error(out, truth) <= bound


@each_version
@each_layout
@pytest.mark.parametrize("shape", LARGE_SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_large_planes(
    run: Run, shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format, version: str
) -> None:
    x, weight, bias, residual = inputs(shape, dtype, layout, seed=5)
    out = run(x, weight, bias, residual, version=version, relu=True)
    truth, bound = truth_and_bound(x, weight, bias, residual, relu=True)
    assert largest_error(out, truth) <= bound


def test_splits_that_have_nothing_to_do(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is kept for planes that begin in the middle of a vector; others leave the last split empty."""
    monkeypatch.setattr(choice, "SMALLEST_SHARE", 1)
    arguments = inputs((1, 4, 2, 97), torch.float16, torch.contiguous_format, seed=1)
    machine = HostMachine(library, HOPPER)
    out = fused(*arguments, version="vectorised", on=machine)
    assert machine.launched[0].grid == 4 * 26  # 194 numbers fill 25 vectors, room is for 26
    truth, bound = truth_and_bound(*arguments, relu=False)
    assert largest_error(out, truth) <= bound


@each_dtype
@pytest.mark.parametrize("version", ["naive", "auto"])
@pytest.mark.parametrize("shape", NARROW_SHAPES, ids=str)
def test_channels_that_fill_no_vector(run: Run, shape: tuple[int, ...], dtype: torch.dtype, version: str) -> None:
    arguments = inputs(shape, dtype, torch.channels_last, seed=1)
    truth, bound = truth_and_bound(*arguments, relu=True)
    assert largest_error(run(*arguments, version=version, relu=True), truth) <= bound


@each_version
@each_layout
@each_dtype
@pytest.mark.parametrize("values", EXTREMES)
def test_hard_values(run: Run, values: str, dtype: torch.dtype, layout: torch.memory_format, version: str) -> None:
    x, weight, bias, residual = inputs((1, 8, 41, 37), dtype, layout, seed=2)
    x = EXTREMES[values](x)
    out = run(x, weight, bias, residual, version=version, gpu=gpu_of(version))
    truth, bound = truth_and_bound(x, weight, bias, residual, relu=False)
    assert largest_error(out, truth) <= bound


@each_version
@each_layout
@pytest.mark.parametrize("mean", [1e3, -1e5, 1e6])
def test_a_large_mean_costs_no_digits(run: Run, mean: float, layout: torch.memory_format, version: str) -> None:
    """One float32 of the mean would be off by 0.03 at a million, where the numbers here differ by 0.1."""
    x, weight, bias, _ = inputs((1, 8, 41, 37), torch.float32, layout, seed=2)
    x = x * 0.1 + mean
    out = run(x, weight, bias, None, version=version, gpu=gpu_of(version))
    truth, _ = truth_and_bound(x, weight, bias, None, relu=False)
    assert largest_error(out, truth) <= 4e-6 * truth.abs().max()


@each_version
@each_layout
@each_dtype
def test_what_is_not_finite_stays_in_its_plane(
    run: Run, dtype: torch.dtype, layout: torch.memory_format, version: str
) -> None:
    for value, relu in itertools.product([float("nan"), float("inf"), float("-inf")], [False, True]):
        x, weight, bias, _ = inputs((2, 8, 9, 7), dtype, layout, seed=3)
        clean = run(x, weight, bias, None, version=version, gpu=gpu_of(version), relu=relu)
        x[1, 2, 4, 3] = value
        out = run(x, weight, bias, None, version=version, gpu=gpu_of(version), relu=relu)
        assert out[1, 2].isnan().all(), "a plane without mean must not look as if it had one"
        out[1, 2] = clean[1, 2]
        assert torch.equal(out, clean)


@each_version
@each_layout
def test_a_run_gives_the_same_bits_whatever_the_order_of_threads(
    library: ctypes.CDLL, layout: torch.memory_format, version: str
) -> None:
    arguments = inputs((1, 16, 37, 29), torch.float16, layout, seed=4)
    machines = [HostMachine(library, gpu_of(version), order) for order in (0, 1, 2, 3)]
    first, *others = [fused(*arguments, True, version=version, on=machine) for machine in machines]
    assert all(torch.equal(first, other) for other in others)


@each_version
@pytest.mark.parametrize("parameters", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weight_and_bias_keep_their_own_dtype(run: Run, parameters: torch.dtype, version: str) -> None:
    """Under autocast the planes are bfloat16 and the parameters float32."""
    x, weight, bias, _ = inputs((2, 8, 6, 5), torch.bfloat16, torch.contiguous_format, seed=6)
    exact = (weight.to(parameters) * 1.0078125, bias.to(parameters) + 0.001)
    out = run(x, *exact, None, version=version, gpu=gpu_of(version))
    truth, bound = truth_and_bound(x, *exact, None, relu=False)
    assert largest_error(out, truth) <= bound


def test_views_that_are_not_aligned(run: Run) -> None:
    memory = torch.randn(1 + 2 * 8 * 6 * 5).half()
    x = memory[1:].view(2, 8, 6, 5)
    assert x.data_ptr() % 16
    _, weight, bias, residual = inputs((2, 8, 6, 5), torch.float16, torch.contiguous_format, seed=7)
    out = run(x, weight, bias, residual, version="auto")
    truth, bound = truth_and_bound(x, weight, bias, residual, relu=False)
    assert largest_error(out, truth) <= bound


def test_strides_that_are_neither_layout(run: Run) -> None:
    x, weight, bias, _ = inputs((2, 8, 6, 10), torch.float32, torch.contiguous_format, seed=8)
    for view in (x[..., ::2], x.transpose(2, 3), x.expand(2, 8, 6, 10)[:1]):
        residual = torch.randn_like(view).contiguous(memory_format=torch.channels_last)
        out = run(view, weight, bias, residual, version="auto")
        truth, bound = truth_and_bound(view, weight, bias, residual, relu=False)
        assert largest_error(out, truth) <= bound


def test_the_result_keeps_the_layout(run: Run) -> None:
    for layout in LAYOUTS:
        x, weight, bias, residual = inputs((2, 8, 6, 5), torch.float32, layout, seed=9)
        assert run(x, weight, bias, residual, version="auto").is_contiguous(memory_format=layout)


def test_nothing_in_nothing_out() -> None:
    x = torch.empty(0, 8, 4, 4)
    assert fused(x, torch.ones(8), torch.zeros(8)).shape == x.shape


@functools.cache
def _wrong() -> list[tuple[tuple[Tensor, ...], str]]:
    x, weight, bias, residual = inputs((2, 8, 6, 5), torch.float32, torch.contiguous_format, seed=9)
    return [
        ((x[0], weight, bias), "must be \\[B, C, H, W\\]"),
        ((x, weight[:7], bias[:7]), "must be \\[C\\]"),
        ((x, weight, bias[:7]), "must be \\[C\\]"),
        ((x, weight, bias, residual[:, :, :, :1]), "shape of x"),
        ((x, weight.to("meta"), bias), "must be on cpu"),
    ]


@pytest.mark.parametrize("case", range(5))
def test_tensors_that_do_not_fit_together_are_refused(case: int) -> None:
    """A kernel would read beyond them."""
    arguments, message = _wrong()[case]
    with pytest.raises(RuntimeError, match=message):
        fused(*arguments)
