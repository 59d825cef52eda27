"""What ``doctor`` finds out about the machine: CPU, memory, disk, GPU and driver. Loads no framework."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dadfi_fast import device

#: Linux's names of the CPU features that make the generator fast, and ours.
FEATURES: Final = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_bf16": "AMX BF16",
    "asimd": "NEON",
    "i8mm": "I8MM",
    "bf16": "BF16",
}
_GB: Final = 1e9
#: What a run takes at the most, on photos of 24 megapixels: the libraries, and for each thread photos under way.
MEMORY: Final = 0.2e9
MEMORY_A_THREAD: Final = 0.5e9
#: Free space below this is told.
SPACE: Final = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    kind: str  # processor, memory, disk, gpu, driver, backend, detector, codec, decoder, encoder or model
    name: str
    ok: bool
    note: str  # what it is, where it is well; else why not
    mend: str | None = None  # the command, or another fix


def cpu() -> Finding:
    """The CPU and those of its features that matter."""
    name, flags = device.cpu()
    known = [ours for theirs, ours in FEATURES.items() if theirs in flags]
    note = ", ".join(known) or ("no relevant features" if flags else "the system does not report its features")
    bf16 = "bfloat16 in hardware" if device.bf16_runs_well() else "no bfloat16 in hardware: the generator runs in f32"
    return Finding("processor", name, True, f"{device.cores()} cores; {note}; {bf16}")


def memory() -> Finding:
    """How much memory is free, and whether a run with the default number of threads is sure to fit."""
    facts = free_memory()
    if facts is None:
        return Finding("memory", "-", True, "the system does not report the amount")
    free, total = facts
    need = MEMORY + MEMORY_A_THREAD * device.cores()
    note, name = f"{free / _GB:.1f} GB free", f"{total / _GB:.1f} GB"
    if free >= need:
        return Finding("memory", name, True, note)
    short = f"{note}; photos of 24 megapixels on {device.cores()} threads take up to {need / _GB:.1f} GB"
    return Finding("memory", name, False, short, "pass --workers 1, or close other programs")


def free_memory() -> tuple[int, int] | None:
    """Bytes that are free and bytes in all, for this container where it is one; None where the system does not say."""
    sizes = _system_memory()
    if sizes is None:
        return None
    free, total = sizes
    with suppress(OSError, ValueError):  # no control group, or one without a limit ("max")
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        return min(free, max(0, limit - used)), min(total, limit)
    return free, total


def _system_memory() -> tuple[int, int] | None:
    with suppress(OSError, ValueError, KeyError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        facts = {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)}
        return facts["MemAvailable"], facts["MemTotal"]
    with suppress(OSError, ValueError, AttributeError):  # macOS: only how much there is
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return total, total
    return None


def disk(folder: Path, *, megabytes_per_second: float | None = None, files_per_second: float | None = None) -> Finding:
    """Space in ``folder``, with the speed where it was measured."""
    free = shutil.disk_usage(folder).free
    parts = [f"{free / _GB:.1f} GB free"]
    if megabytes_per_second is not None:
        parts.append(f"{megabytes_per_second:.0f} MB/s")
    if files_per_second is not None:
        parts.append(f"{files_per_second:.0f} files/s, each written and flushed")
    mend = None if free >= SPACE else "free some space, or choose another --out"
    return Finding("disk", str(folder), free >= SPACE, "; ".join(parts), mend)


#: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
_CAPABILITY: Final = (75, 76)
Library = Callable[[], Any]


def driver_library() -> Any:
    """NVIDIA's driver, loaded as it is: no framework.

    Raises:
        OSError: it is not installed.
    """
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def graphics(load: Library = driver_library) -> Iterator[Finding]:
    """The NVIDIA driver and each GPU that it knows; one finding that says so where there is none."""
    try:
        cuda = load()
    except OSError:
        mend = "if the machine has an NVIDIA GPU, install its driver: https://www.nvidia.com/drivers"
        yield Finding("driver", "nvidia", False, "not installed", mend)
        yield Finding("gpu", "-", False, "not detected without a driver; everything runs on the CPU")
        return
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    runs = f"runs CUDA up to {number.value // 1000}.{number.value % 1000 // 10}"
    failed = cuda.cuInit(0)
    yield Finding("driver", f"nvidia {_driver_version()}".rstrip(), not failed, runs)
    if failed:
        mend = "run nvidia-smi; in a container, pass --gpus all (docker) or --device nvidia.com/gpu=all (podman)"
        yield Finding("gpu", "-", False, f"the driver finds none: {_words(cuda, failed)}", mend)
        return
    yield from _gpus(cuda)


def _gpus(cuda: Any) -> Iterator[Finding]:
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    if not count.value:
        yield Finding("gpu", "-", False, "the driver finds none")
    for index in range(count.value):
        name, size = ctypes.create_string_buffer(256), ctypes.c_size_t()
        cuda.cuDeviceGetName(name, len(name), index)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(size), index)
        major, minor = (
            _attribute(cuda, which, index) for which in (75, 76)
        )  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
        note = f"{name.value.decode(errors='replace')}, {size.value / _GB:.1f} GB, compute capability {major}.{minor}"
        yield Finding("gpu", f"cuda:{index}", True, note)


def _attribute(cuda: Any, which: int, index: int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), which, index)
    return value.value


def _words(cuda: Any, code: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(text))
    return text.value.decode(errors="replace") if text.value else f"error {code}"


def _driver_version() -> str:
    """What ``nvidia-smi`` says; empty where it is not there."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.split("\n", 1)[0].strip()
