"""What runs kernels on a CPU finds their faults, and rounds as a GPU does."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from host import HostMachine, KernelFault, Launch, blank

from dadfi_fast.kernels.choice import Gpu

FAULTS = {
    "fault_missing_barrier": "read unsynchronised|may still read",
    "fault_read_then_write": "may still read",
    "fault_missing_cluster_barrier": "read unsynchronised|may still read",
    "fault_cluster_left_early": "may have left",
    "fault_barrier_in_a_branch": "not all threads reach",
    "fault_shuffle_in_a_branch": "not all threads reach",
    "fault_out_of_bounds": "out of bounds",
    "fault_beyond_shared_memory": "beyond the shared memory",
    "fault_not_aligned": "not aligned",
    "fault_written_twice": "written twice",
    "fault_input_written": "input is written",
    "fault_copy_not_waited_for": "not waited for",
}


def run(library: ctypes.CDLL, kernel: str, order: int) -> tuple[torch.Tensor, torch.Tensor]:
    machine = HostMachine(library, Gpu((9, 0), 0, 1))
    x, out = torch.arange(64.0), blank(128)
    cluster = 2 if "cluster" in kernel else 1
    launch = Launch(cluster, 32 if "copy" in kernel else 64, cluster, 512 if "copy" in kernel else 256, order)
    machine.run(kernel, launch, (x, out), writable=(out,))
    return x, out


@pytest.mark.parametrize("order", [0, 1, 7])
@pytest.mark.parametrize(("kernel", "message"), FAULTS.items())
def test_faults_are_found(library: ctypes.CDLL, kernel: str, message: str, order: int) -> None:
    with pytest.raises(KernelFault, match=message):
        run(library, kernel, order)


@pytest.mark.parametrize("order", [0, 1, 7])
def test_a_kernel_without_fault_runs(library: ctypes.CDLL, order: int) -> None:
    x, out = run(library, "no_fault", order)
    assert torch.equal(out[:64], x.roll(-1))


def test_all_halves_are_widened_as_numpy_does(library: ctypes.CDLL) -> None:
    library.shim_widen_f16.restype = ctypes.c_float
    bits = np.arange(1 << 16, dtype=np.uint16)
    widened = np.array([library.shim_widen_f16(int(b)) for b in bits], np.float32)
    np.testing.assert_array_equal(widened, bits.view(np.float16).astype(np.float32))


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_numbers_are_narrowed_as_torch_does(library: ctypes.CDLL, name: str) -> None:
    narrow = getattr(library, f"shim_narrow_{name}")
    narrow.restype, narrow.argtypes = ctypes.c_ushort, [ctypes.c_float]
    dtype = torch.float16 if name == "f16" else torch.bfloat16
    rng = np.random.default_rng(0)
    random = rng.integers(0, 1 << 32, 20_000, dtype=np.uint32).view(np.float32)
    # All that the dtype holds, and the points half-way to the next: where rounding to even shows.
    held = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(dtype).float().numpy()
    with np.errstate(all="ignore"):
        half_way = (held[1:].astype(np.float64) + held[:-1]) / 2
        values = np.concatenate([random, held, half_way.astype(np.float32)])
    got = torch.tensor([narrow(float(v)) for v in values], dtype=torch.int32).to(torch.int16).view(dtype)
    torch.testing.assert_close(got, torch.from_numpy(values).to(dtype), rtol=0, atol=0, equal_nan=True)
