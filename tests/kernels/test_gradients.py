"""The gradient kernels against float64, and float64 against finite differences: dtypes, layouts, odd sizes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
import torch
from cases import DTYPES, EXTREMES, LARGE_SHAPES, LAYOUTS, NARROW_SHAPES, SHAPES, inputs, largest_error
from host import HostMachine
from torch import Tensor

from dadfi_fast.kernels.binding import fused_gradients
from dadfi_fast.kernels.choice import GRADIENT_THREADS, SIZES, Gpu, Planes, gradient_plan
from dadfi_fast.ops.instance_norm_residual import gradients, reference

HOPPER = Gpu((9, 0), 232448, 132)
#: With no shared memory for planes: nothing is held.
TINY = Gpu((8, 0), 0, 2)

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout).split(".")[-1])
each_gpu = pytest.mark.parametrize("gpu", [HOPPER, TINY], ids=["held", "streamed"])


Run = Callable[..., tuple[Tensor, ...]]


@pytest.fixture(params=["host", pytest.param("cuda", marks=pytest.mark.gpu)])
def run(request: pytest.FixtureRequest) -> Run:
    """Calls `fused_gradients` on the shim, or on a GPU and brings the result back."""

    def call(*arguments: Tensor, relu: bool, gpu: Gpu = HOPPER, order: int = 0) -> tuple[Tensor, ...]:
        x, weight, bias, grad = arguments
        if request.param == "cuda":
            moved = (t.cuda() for t in (grad, x, weight, bias))
            return tuple(t.cpu() for t in fused_gradients(*moved, relu))
        library: ctypes.CDLL = request.getfixturevalue("library")
        return fused_gradients(grad, x, weight, bias, relu, on=HostMachine(library, gpu, order))

    return call


def truth(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> tuple[Tensor, ...]:
    """By differentiating the plain version in float64."""
    doubles = [t.double().requires_grad_() for t in (x, weight, bias)]
    return torch.autograd.grad(reference(*doubles, relu=relu), doubles, grad.double())


def within(ours: tuple[Tensor, ...], arguments: tuple[Tensor, ...], *, relu: bool) -> None:
    """Each is at most twice as far off as PyTorch's own in the same dtype, and four units of its largest entry."""
    x, weight, bias, grad = arguments
    plain = gradients(grad, x, weight, bias, relu=relu)
    for mine, torchs, true in zip(ours, plain, truth(grad, x, weight, bias, relu), strict=True):
        unit = torch.finfo(mine.dtype).eps * max(true.abs().max().item(), torch.finfo(mine.dtype).tiny)
        assert mine.dtype == torchs.dtype and mine.shape == true.shape
        assert largest_error(mine, true) <= 2 * largest_error(torchs, true) + 4 * unit


@pytest.mark.parametrize("relu", [False, True])
def test_float64_agrees_with_finite_differences(relu: bool) -> None:
    """What everything else here is compared with."""
    x, weight, bias, _ = (t.double() for t in inputs((2, 3, 4, 5), torch.float32, torch.contiguous_format, seed=3))
    direction = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    arguments = [x, weight, bias]
    for argument, gradient in enumerate(truth(direction, x, weight, bias, relu)):
        for index in range(0, gradient.numel(), 7):
            step = torch.zeros_like(gradient)
            step.view(-1)[index] = 1e-6
            sums = []
            for sign in (1, -1):
                moved = [t + sign * step if i == argument else t for i, t in enumerate(arguments)]
                sums.append((reference(*moved, relu=relu) * direction).sum())
            assert ((sums[0] - sums[1]) / 2e-6 - gradient.reshape(-1)[index]).abs() < 1e-6


@each_gpu
@each_layout
@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_float64(
    run: Run, shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format, gpu: Gpu
) -> None:
    for relu in (False, True):
        arguments = inputs(shape, dtype, layout, seed=int(relu))
        ours = run(*arguments, relu=relu, gpu=gpu, order=int(relu))
        within(ours, arguments, relu=relu)
        assert ours[0].is_contiguous(memory_format=layout)


@each_layout
@pytest.mark.parametrize("shape", LARGE_SHAPES, ids=str)
def test_large_planes(run: Run, shape: tuple[int, ...], layout: torch.memory_format) -> None:
    arguments = inputs(shape, torch.float16, layout, seed=5)
    within(run(*arguments, relu=True), arguments, relu=True)


@each_dtype
@pytest.mark.parametrize("shape", NARROW_SHAPES, ids=str)
def test_channels_that_fill_no_vector(run: Run, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    arguments = inputs(shape, dtype, torch.channels_last, seed=1)
    within(run(*arguments, relu=True), arguments, relu=True)


def test_what_fits_is_held() -> None:
    for gpu, version in ((HOPPER, "held"), (TINY, "streamed")):
        plan = gradient_plan(Planes(2, 16, 63, "f16"), gpu)
        assert plan.version == version and plan.steps[0].kernel == f"gradients_{version}_f16_nchw_x8"
    large = gradient_plan(Planes(2, 16, 300 * 300, "f16"), HOPPER)
    assert large.version == "streamed"


@each_gpu
@each_layout
@pytest.mark.parametrize("values", [name for name in EXTREMES if "outlier" in name or "tilted" in name])
def test_hard_values(library: ctypes.CDLL, values: str, layout: torch.memory_format, gpu: Gpu) -> None:
    x, weight, bias, grad = inputs((1, 8, 41, 37), torch.float32, layout, seed=2)
    arguments = (EXTREMES[values](x), weight, bias, grad)
    within(fused_gradients(grad, *arguments[:3], False, on=HostMachine(library, gpu)), arguments, relu=False)


@each_gpu
@each_layout
def test_a_large_mean_costs_no_digits(library: ctypes.CDLL, layout: torch.memory_format, gpu: Gpu) -> None:
    x, weight, bias, grad = inputs((1, 8, 41, 37), torch.float32, layout, seed=2)
    x = x * 0.1 + 1e5
    ours = fused_gradients(grad, x, weight, bias, False, on=HostMachine(library, gpu))
    for mine, true in zip(ours, truth(grad, x, weight, bias, False), strict=True):
        assert largest_error(mine, true) <= 2e-5 * true.abs().max()


@each_gpu
@each_layout
def test_a_nan_stays_in_its_plane(library: ctypes.CDLL, layout: torch.memory_format, gpu: Gpu) -> None:
    x, weight, bias, grad = inputs((2, 8, 9, 7), torch.float16, layout, seed=3)
    clean = fused_gradients(grad, x, weight, bias, True, on=HostMachine(library, gpu))[0]
    x[1, 2, 4, 3] = float("nan")
    ours = fused_gradients(grad, x, weight, bias, True, on=HostMachine(library, gpu))[0]
    assert ours[1, 2].isnan().all()
    ours[1, 2] = clean[1, 2]
    assert torch.equal(ours, clean)


def test_the_order_of_threads_changes_no_bit(library: ctypes.CDLL) -> None:
    x, weight, bias, grad = inputs((1, 16, 37, 29), torch.float16, torch.channels_last, seed=4)
    runs = [fused_gradients(grad, x, weight, bias, True, on=HostMachine(library, HOPPER, order)) for order in range(4)]
    assert all(torch.equal(one, other) for run in runs for one, other in zip(run, runs[0], strict=True))


def test_layouts_and_dtypes_that_differ_are_brought_together(library: ctypes.CDLL) -> None:
    """Under autocast parameters are float32, and the gradient may come in another layout."""
    x, weight, bias, grad = inputs((2, 8, 6, 5), torch.bfloat16, torch.channels_last, seed=6)
    arguments = (x, weight.float(), bias.float(), grad.contiguous())
    within(
        fused_gradients(arguments[3].float(), *arguments[:3], True, on=HostMachine(library, HOPPER)),
        arguments,
        relu=True,
    )


def test_what_has_no_kernel_goes_through_pytorchs_own() -> None:
    x, weight, bias, grad = (t.double() for t in inputs((2, 8, 6, 5), torch.float32, torch.channels_last, seed=6))
    ours = fused_gradients(grad, x, weight, bias, True)
    for mine, true in zip(ours, truth(grad, x, weight, bias, True), strict=True):
        torch.testing.assert_close(mine, true)
    assert ours[0].is_contiguous(memory_format=torch.channels_last)
    assert fused_gradients(grad[:0], x[:0], weight, bias)[0].shape == (0, 8, 6, 5)


def test_every_plan_can_be_launched() -> None:
    for batch, channels, side in ((1, 8, 1), (3, 24, 75), (200, 8, 256), (1, 3, 31), (1, 64, 5000)):
        for dtype in SIZES:
            for last in (False, True):
                for gpu in (HOPPER, TINY, Gpu((8, 9), 99 * 1024, 58)):
                    (step,) = gradient_plan(Planes(batch, channels, side * side, dtype, last), gpu).steps
                    assert 0 < step.shared_bytes <= max(gpu.shared_bytes, 48 * 1024)
                    assert step.threads % 32 == 0 and step.threads <= GRADIENT_THREADS and 0 < step.grid < 2**31
