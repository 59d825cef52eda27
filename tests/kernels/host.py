"""The kernels on this machine's processor: builds the shim once, and launches on it as on a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dadfi_fast.kernels.choice import Gpu, Step
from dadfi_fast.kernels.loader import FOLDER
from dadfi_fast.kernels.machine import Numbers, Tensors

HERE = Path(__file__).parent / "shim"


class Launch(ctypes.Structure):
    """As in shim.cpp."""

    _fields_ = tuple((name, ctypes.c_int) for name in ("grid", "threads", "cluster", "shared_bytes", "order"))


class Range(ctypes.Structure):
    """As in shim.cpp: memory that a kernel may touch."""

    _fields_ = (("begin", ctypes.c_void_p), ("bytes", ctypes.c_longlong), ("writable", ctypes.c_int))


class KernelFault(Exception):
    """A kernel broke a rule of CUDA."""


def build(folder: Path) -> ctypes.CDLL:
    """Compile the kernels for this processor; skips the test where that cannot be done."""
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the kernels run on a processor only where there are g++ and Linux's ucontext")
    library = folder / "shim.so"
    flags = ["-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-U_FORTIFY_SOURCE"]
    stores = [f"-DSTORE_{dtype}" for dtype in ("F32", "F16", "BF16")]
    # Contraction to fused multiply-adds would differ between processors.
    command = [compiler, *flags, "-ffp-contract=off", *stores, f"-I{HERE}", f"-I{FOLDER}", "-o", str(library)]
    done = subprocess.run([*command, str(HERE / "shim.cpp")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(library))
    loaded.shim_launch.restype = ctypes.c_char_p
    return loaded


class HostMachine:
    """Stands in for a GPU.

    Args:
        library: from `build`.
        gpu: which GPU it claims to be.
        order: of the threads between barriers: 0 ascending, 1 descending, others shuffled.
    """

    def __init__(self, library: ctypes.CDLL, gpu: Gpu, order: int = 0) -> None:
        self.library, self.gpu, self.order = library, gpu, order
        self.launched: list[Step] = []

    def launch(self, step: Step, dtype: str, tensors: Tensors, numbers: Numbers) -> None:
        assert f"_{dtype}_" in step.kernel
        self.launched.append(step)
        launch = Launch(step.grid, step.threads, step.cluster, step.shared_bytes, self.order)
        self.run(step.kernel, launch, tensors, numbers, writable=tensors[4:])

    def run(self, kernel: str, launch: Launch, tensors: Tensors, numbers: Numbers, *, writable: Tensors) -> None:
        """Run a kernel by its name; raises `KernelFault` with what it did wrong."""
        written = {id(t) for t in writable}
        given = [t for t in tensors if t is not None]
        ranges = [Range(t.data_ptr(), t.numel() * t.element_size(), id(t) in written) for t in given]
        fault = self.library.shim_launch(
            ctypes.cast(self.library[kernel], ctypes.c_void_p),
            launch,
            (Range * len(ranges))(*ranges),
            len(ranges),
            *(ctypes.c_void_p(0 if t is None else t.data_ptr()) for t in tensors),
            *(ctypes.c_float(n) if isinstance(n, float) else ctypes.c_int(n) for n in numbers),
        )
        if fault is not None:
            raise KernelFault(f"{kernel}: {fault.decode()}")


def blank(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Memory full of NaN: what is not written shows."""
    return torch.full(shape, float("nan"), dtype=dtype)
