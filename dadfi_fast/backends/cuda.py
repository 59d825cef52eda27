"""Which NVIDIA GPU there is, asked of the driver itself: loads no framework, and works where none is installed."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any, Final

from dadfi_fast.errors import BackendMissing

#: CUdevice_attribute: major and minor compute capability.
_MAJOR: Final = 75
_MINOR: Final = 76


@dataclass(frozen=True)
class Gpu:
    """One GPU, as far as an engine built for it depends on it."""

    name: str  # "NVIDIA H100 80GB HBM3"
    capability: tuple[int, int]  # (9, 0)
    driver: str  # the newest CUDA that the driver runs: "13.0"

    @property
    def architecture(self) -> str:
        """``sm90`` and the like."""
        return f"sm{self.capability[0]}{self.capability[1]}"


def number(device: str) -> int:
    """The N of ``cuda:N``; 0 for ``cuda``."""
    return int(device.partition(":")[2] or 0)


def missing(device: str = "cuda") -> str | None:
    """Why there is no such GPU, and how to fix it; None if there is one."""
    try:
        gpu(device)
    except BackendMissing as error:
        return str(error)
    return None


def gpu(device: str = "cuda") -> Gpu:
    """The GPU that ``device`` (``cuda`` or ``cuda:N``) names.

    Raises:
        BackendMissing: there is no driver, or it finds no such GPU.
    """
    driver = _driver()
    count, version = ctypes.c_int(), ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if failed or number(device) >= count.value:
        gpus = f"the NVIDIA driver finds {count.value} GPUs" + (f" (CUDA error {failed})" if failed else "")
        raise BackendMissing(f"{gpus}, but --device is {device}. Run nvidia-smi to list the GPUs.")
    driver.cuDriverGetVersion(ctypes.byref(version))
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), number(device))
    major, minor = (_attribute(driver, which, number(device)) for which in (_MAJOR, _MINOR))
    release = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), (major, minor), release)


def _driver() -> Any:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        raise BackendMissing("no NVIDIA driver is installed. Install it: https://www.nvidia.com/drivers") from None


def _attribute(driver: Any, which: int, index: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), which, index)
    return value.value
