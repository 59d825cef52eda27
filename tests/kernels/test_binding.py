"""The kernels as a body of the operation: PyTorch's own checks, torch.compile and gradients.

Without a GPU the shim is made the body for the CPU, and all else is as on a GPU.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
import torch
from cases import inputs, largest_error, truth_and_bound
from host import HostMachine
from torch import Tensor

from dadfi_fast.errors import BackendMissing
from dadfi_fast.kernels import binding, loader
from dadfi_fast.kernels.choice import Gpu
from dadfi_fast.models.generator import Generator
from dadfi_fast.ops.instance_norm_residual import (
    instance_norm_residual,
    instance_norm_residual_gradients,
    reference,
)

LAST = torch.channels_last


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A device whose body of the operation is made of the kernels."""
    if request.param == "cuda":
        binding.register()
        yield "cuda"
        return
    library: ctypes.CDLL = request.getfixturevalue("library")
    host = HostMachine(library, Gpu((9, 0), 232448, 132))
    monkeypatch.setattr(binding, "machine", lambda _: host)
    _body_for_the_processor()
    with instance_norm_residual.set_kernel_enabled("cpu"), instance_norm_residual_gradients.set_kernel_enabled("cpu"):
        yield "cpu"
    assert host.launched, "the test did not run the kernels"


@functools.cache
def _body_for_the_processor() -> list[AbstractContextManager[None]]:
    """Registers them, switched off: bodies cannot be taken back, and other tests of this process want PyTorch's own.

    They are off for as long as what is returned lives: the cache sees to that.
    """
    bodies = {instance_norm_residual: binding.fused, instance_norm_residual_gradients: binding.fused_gradients}
    off = [operation.set_kernel_enabled("cpu", False) for operation in bodies]
    for each, (operation, body) in zip(off, bodies.items(), strict=True):
        each.__enter__()
        operation.register_kernel("cpu")(body)
    return off


def arguments(
    device: str, *, dtype: torch.dtype = torch.float32, layout: torch.memory_format = LAST
) -> tuple[Tensor, ...]:
    return tuple(t.to(device) for t in inputs((2, 8, 6, 5), dtype, layout, seed=1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_is_the_body_of_the_operation(device: str, dtype: torch.dtype, layout: torch.memory_format) -> None:
    if dtype == torch.float64:  # goes through the plain version; the fixture wants the kernels to have run, too
        instance_norm_residual(*arguments(device), True)
    x, weight, bias, residual = arguments(device, dtype=dtype, layout=layout)
    out = instance_norm_residual(x, weight, bias, residual, True)
    truth, bound = truth_and_bound(*(t.cpu() for t in (x, weight, bias, residual)), relu=True)
    assert out.dtype == dtype and out.is_contiguous(memory_format=layout), "the rule for shapes says so"
    assert largest_error(out.cpu(), truth) <= bound


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST], ids=["nchw", "nhwc"])
def test_passes_the_checks_of_pytorch(device: str, layout: torch.memory_format) -> None:
    x, weight, bias, residual = arguments(device, layout=layout)
    checked = (x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), residual)
    torch.library.opcheck(instance_norm_residual, (*checked, True))
    torch.library.opcheck(instance_norm_residual, (x, weight, bias))
    for relu in (False, True):
        plain = (residual, *(t.detach() for t in (x, weight, bias)))
        torch.library.opcheck(instance_norm_residual_gradients, (*plain, relu))


def test_compiles_in_one_graph(device: str) -> None:
    def block(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        return (instance_norm_residual(x * 2, weight, bias, residual, True) + 1).tanh()

    backend = "inductor" if device == "cuda" else "aot_eager"
    tensors = arguments(device)
    torch.testing.assert_close(torch.compile(block, fullgraph=True, backend=backend)(*tensors), block(*tensors))


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST], ids=["nchw", "nhwc"])
def test_gradients_are_those_of_the_plain_version(device: str, layout: torch.memory_format) -> None:
    ours = [t.requires_grad_() for t in arguments(device, layout=layout)]
    plain = [t.detach().cpu().double().requires_grad_() for t in ours]
    direction = torch.randn(2, 8, 6, 5, generator=torch.Generator().manual_seed(0))
    (instance_norm_residual(*ours, True) * direction.to(device)).sum().backward()
    (reference(*plain, relu=True) * direction).sum().backward()
    for mine, true in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine.grad.cpu().double(), true.grad, rtol=1e-4, atol=1e-5)
    assert ours[0].grad.is_contiguous(memory_format=layout)


def test_gradients_of_gradients_go_through_pytorchs_own(device: str) -> None:
    instance_norm_residual(*arguments(device), True)  # the fixture wants the kernels to have run
    x, weight, bias, _ = (t.double().to(device) for t in inputs((1, 2, 3, 2), torch.float32, LAST, seed=2))
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    assert torch.autograd.gradgradcheck(lambda *args: instance_norm_residual(*args, None, True), leaves)


def test_nothing_is_copied_on_the_way_through_channels_last(device: str) -> None:
    """What the kernels read and write is what goes in and comes out."""
    x, weight, bias, residual = arguments(device)
    out = instance_norm_residual(x, weight, bias, residual, True)
    grads = instance_norm_residual_gradients(out, x, weight, bias, True)
    for tensor in (out, grads[0]):
        assert tensor.is_contiguous(memory_format=LAST) and not tensor.is_contiguous()


def test_the_generator_runs_on_the_kernels(device: str) -> None:
    torch.manual_seed(0)
    generator = Generator("s")
    crops = torch.rand(1, 3, 36, 44) * 2 - 1
    with torch.inference_mode():
        ours = generator.to(device)(crops.to(device)).cpu()
        truth = generator.cpu().double()(crops.double())
    # The transposed convolutions of a GPU may use tf32.
    torch.testing.assert_close(ours.double(), truth, rtol=0, atol=1e-5 if device == "cpu" else 2e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    assert binding.missing() == "PyTorch finds no NVIDIA GPU"
    with pytest.raises(BackendMissing, match="no NVIDIA GPU"):
        binding.register()


def test_old_gpus_and_drivers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: [(9, 0), (7, 5)][i])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: ["new", "Tesla T4"][i])
    assert binding.missing() == "Tesla T4 is older than compute capability 8.0"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(loader, "missing", lambda: None)
    monkeypatch.setattr(loader, "driver_version", lambda: 12080)
    assert "install version 580 or newer" in str(binding.missing())
    monkeypatch.setattr(loader, "driver_version", lambda: 13000)
    assert binding.missing() is None


def test_other_tests_have_pytorchs_body_again() -> None:
    """If this fails, all that comes after it would run on the shim."""
    _body_for_the_processor()
    given_x, weight, bias, residual = arguments("cpu")
    out = instance_norm_residual(given_x, weight, bias, residual, True)
    plain = torch.nn.functional.instance_norm(given_x, weight=weight, bias=bias).relu() + residual
    assert torch.equal(out, plain)
