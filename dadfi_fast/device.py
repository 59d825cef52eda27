"""What the machine is: CPU, features, memory, cores. Read from the system; loads no framework."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def cores() -> int:
    """CPU cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def available_memory() -> int:
    """Bytes that this process may still take: what the system has free, or the container's limit leaves, if less."""
    limits = [_free()]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limits.append(int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text()))
        except (OSError, ValueError):  # another version of cgroups, none, or no limit ("max")
            continue
    return max(0, min(limits))


def _free() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 8 << 30


@functools.cache
def cpu() -> tuple[str, frozenset[str]]:
    """Name of the CPU and its feature flags, as Linux names them (empty where the system does not say)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    return facts.get("model name", platform.machine()), frozenset(facts.get("flags", facts.get("Features", "")).split())


def bf16_runs_well() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX-512 BF16, AMX, or Arm BF16)."""
    return bool(cpu()[1] & {"avx512_bf16", "amx_bf16", "bf16"})


def machine() -> dict[str, object]:
    """The machine, for benchmark rows and reports."""
    return {"processor": cpu()[0], "cores": cores(), "bf16": bf16_runs_well(), "system": platform.platform()}
