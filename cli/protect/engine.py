"""Who does the work of ``protect``: this process, several on this machine, or the actors of a Ray cluster."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dadfi_fast.cli.doctor.machine import Library, driver_library
from dadfi_fast.device import cores
from dadfi_fast.errors import UsageError

if TYPE_CHECKING:
    from dadfi_fast.protect.config import ProtectConfig
    from dadfi_fast.protect.distributed.pool import WorkerPool
    from dadfi_fast.protect.distributed.worker import ContextFactory

ENGINES: Final = ("local", "ray")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """``--engine``, ``--ray-address`` and ``--processes``.

    Raises:
        UsageError: two of them do not go together.
    """

    name: str = "local"
    address: str | None = None
    processes: int | None = None  # None picks

    def __post_init__(self) -> None:
        if self.address is not None and self.name != "ray":
            raise UsageError("--ray-address needs --engine ray")

    @property
    def elsewhere(self) -> bool:
        """Whether what this machine has says nothing about what will run."""
        return self.name == "ray"

    def pool(self, config: ProtectConfig, make: ContextFactory) -> WorkerPool | None:
        """The workers; None where this process does the work.

        Raises:
            BackendMissing: Ray is not installed.
            UsageError: there is no such cluster, or the places are in the memory of one process.
        """
        if self.name == "ray":
            from dadfi_fast.protect.distributed.ray import Ray

            return Ray(config, make, address=self.address, count=self.processes)
        count = self.processes or (gpus() if config.device == "cuda" else 1)
        if count <= 1:
            return None
        if any(str(path).startswith("memory://") for path in (*config.sources, config.out)):
            raise UsageError("sources in the memory of one process cannot be shared. Remove --processes.")
        from dadfi_fast.protect.distributed.processes import Processes

        return Processes(shared(config, count, gpus=gpus() if config.device == "cuda" else 0), make)


def shared(config: ProtectConfig, count: int, *, gpus: int) -> list[ProtectConfig]:
    """The configs of ``count`` processes, which share the cores and, one after the other, the GPUs."""
    workers = config.workers or max(1, cores() // count)
    devices = [f"cuda:{number % gpus}" if gpus else config.device for number in range(count)]
    return [replace(config, workers=workers, device=device) for device in devices]


def gpus(load: Library = driver_library) -> int:
    """How many GPUs this process may use (CUDA_VISIBLE_DEVICES counts); 0 without a driver. Never run on hardware."""
    try:
        cuda = load()
    except OSError:
        return 0
    count = ctypes.c_int()
    return count.value if not cuda.cuInit(0) and not cuda.cuDeviceGetCount(ctypes.byref(count)) else 0
