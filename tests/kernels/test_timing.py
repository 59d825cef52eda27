"""Timing needs a GPU; what it divides by does not."""

from __future__ import annotations

import pytest
import torch

from dadfi_fast.kernels.choice import VERSIONS
from dadfi_fast.kernels.timing import Inputs, Timing, minimum_bytes, time_versions


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.float16, 2)])
def test_bytes_that_must_move(dtype: torch.dtype, size: int) -> None:
    x = torch.zeros(2, 3, 4, 5, dtype=dtype)
    assert minimum_bytes(x, None) == 2 * 120 * size
    assert minimum_bytes(x, x) == 3 * 120 * size


@pytest.mark.gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_all_versions_are_timed(layout: torch.memory_format) -> None:
    def tensors() -> Inputs:
        x, residual = (torch.randn(4, 8, 75, 75, device="cuda").half() for _ in range(2))
        weight, bias = (torch.randn(8, device="cuda") for _ in range(2))
        return x.contiguous(memory_format=layout), weight, bias, residual.contiguous(memory_format=layout)

    rows = time_versions([tensors() for _ in range(3)], replays=10)
    assert list(rows) == [*VERSIONS, "reference"]
    timed = [row for row in rows.values() if isinstance(row, Timing)]
    assert {"naive", "vectorised", "resident", "reference"} <= {row.version for row in timed}
    for row in timed:
        assert 0 < row.p20 <= row.p50 <= row.p80 and row.n == 10
        assert row.gigabytes_per_second == pytest.approx(row.bytes_moved / row.p50 / 1e3)
