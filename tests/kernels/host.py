"""The kernels on this machine's CPU: builds the shim once, and launches on it as on a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dadfi_fast.kernels.choice import SIZES, Gpu, Step
from dadfi_fast.kernels.loader import FOLDER
from dadfi_fast.kernels.machine import Numbers, Tensors
from dadfi_fast.kernels.tensorrt_plugin import macro

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
    """The kernels for this CPU, compiled unless they are in ``folder``; skips the test where that cannot be done."""
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the kernels run on a CPU only where there are g++ and Linux's ucontext")
    import fcntl

    library = folder / "shim.so"
    with (folder / "shim.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not library.exists():
            _compile(compiler, library)
    loaded = ctypes.CDLL(str(library))
    loaded.shim_launch.restype = ctypes.c_char_p
    return loaded


def _compile(compiler: str, library: Path) -> None:
    flags = ["-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-U_FORTIFY_SOURCE"]
    stores = [f"-DSTORE_{dtype.upper()}" for dtype in SIZES]
    suffixes = [f"{dtype}_{layout}" for dtype in SIZES for layout in ("nchw", "nhwc")]
    stores.append("-DPLUGIN=" + " ".join(macro(suffix, more) for suffix in suffixes for more in (False, True)))
    part = library.with_suffix(".part")
    # Contraction to fused multiply-adds would differ between CPUs.
    command = [compiler, *flags, "-ffp-contract=off", *stores, f"-I{HERE}", f"-I{FOLDER}", "-o", str(part)]
    done = subprocess.run([*command, str(HERE / "shim.cpp")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    part.rename(library)


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
        self.run(step.kernel, launch, (*tensors, *numbers), writable=tensors[4:])

    def run(
        self, kernel: str, launch: Launch, arguments: Sequence[Tensor | int | float | None], *, writable: Tensors
    ) -> None:
        """Run a kernel by its name; raises `KernelFault` with what it did wrong."""
        written = {id(t) for t in writable}
        tensors = [a for a in arguments if isinstance(a, Tensor)]
        ranges = [Range(t.data_ptr(), t.numel() * t.element_size(), id(t) in written) for t in tensors]
        values = [_value(argument) for argument in arguments]
        fault = self.library.shim_launch(
            ctypes.cast(self.library[f"launch_{kernel}"], ctypes.c_void_p),
            launch,
            (Range * len(ranges))(*ranges),
            len(ranges),
            (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values)),
        )
        if fault is not None:
            raise KernelFault(f"{kernel}: {fault.decode()}")


def _value(argument: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_float | ctypes.c_int:
    """What the kernel is to find: the address of a tensor, or the number."""
    if argument is None or isinstance(argument, Tensor):
        return ctypes.c_void_p(0 if argument is None else argument.data_ptr())
    return ctypes.c_float(argument) if isinstance(argument, float) else ctypes.c_int(argument)


def blank(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Memory full of NaN: what is not written shows."""
    return torch.full(shape, float("nan"), dtype=dtype)
