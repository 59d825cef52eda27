"""Timing needs a GPU; what it divides by does not."""

from __future__ import annotations

import pytest
import torch

from dadfi_fast.errors import UsageError
from dadfi_fast.kernels.timing import Inputs, bodies, minimum_bytes, time_body
from dadfi_fast.ops.instance_norm_residual import reference

#: Of its own old names, when torch.compile is loaded.
torch_warns = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.float16, 2)])
def test_bytes_that_must_move(dtype: torch.dtype, size: int) -> None:
    x = torch.zeros(2, 3, 4, 5, dtype=dtype)
    assert minimum_bytes(x, None) == 2 * 120 * size
    assert minimum_bytes(x, x) == 3 * 120 * size


@torch_warns
@pytest.mark.parametrize(
    ("name", "relu", "added"),
    [
        ("reference", True, False),
        ("reference", False, True),
        ("group norm", True, False),
        ("group norm", False, True),
        ("torch.compile", True, True),  # once: its compiler takes seconds
    ],
)
def test_what_pytorch_has_is_the_same_operation(
    name: str, relu: bool, added: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "torch.compile":  # for a single small kernel: g++ runs once, and without what vectors need
        from torch._inductor import config

        monkeypatch.setattr(config, "cpp_cache_precompile_headers", False)
        monkeypatch.setattr(config.cpp, "simdlen", 1)
    x, residual = torch.randn(2, 2, 8, 9, 7).double()
    weight, bias = torch.randn(2, 8).double()
    arguments = (x, weight, bias, residual if added else None)
    assert torch.allclose(bodies()[name](arguments, relu), reference(*arguments, relu=relu))


@torch_warns
@pytest.mark.gpu
@pytest.mark.parametrize("name", bodies())
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_all_are_timed(layout: torch.memory_format, name: str) -> None:
    def tensors() -> Inputs:
        x, residual = (torch.randn(4, 8, 75, 75, device="cuda").half() for _ in range(2))
        weight, bias = (torch.randn(8, device="cuda") for _ in range(2))
        return x.contiguous(memory_format=layout), weight, bias, residual.contiguous(memory_format=layout)

    try:
        row = time_body(name, bodies()[name], [tensors() for _ in range(3)], True, replays=10)
    except UsageError as error:
        pytest.skip(str(error))
    assert row.version == name and 0 < row.p20 <= row.p50 <= row.p80 and row.n == 10
    assert row.gigabytes_per_second == pytest.approx(row.bytes_moved / row.p50 / 1e3)
