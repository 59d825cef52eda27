"""Which backend runs, and why. A backend that the user names runs or is an error: there is no silent second choice."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from dadfi_fast.backends.base import Backend
from dadfi_fast.errors import BackendMissing
from dadfi_fast.table import Table

#: Name -> what imports the backend. In the order in which ``auto`` tries them; `missing` loads no framework.
BACKENDS: Table[Callable[[], type[Backend]]] = Table("backend")


def _enter(name: str, class_name: str) -> None:
    def load() -> type[Backend]:
        found: type[Backend] = getattr(importlib.import_module(f"dadfi_fast.backends.{name}"), class_name)
        return found

    BACKENDS.add(name)(load)


_enter("openvino", "OpenVINO")
_enter("onnxruntime", "OnnxRuntime")
_enter("torch", "Torch")


def choose(name: str = "auto", *, device: str = "cpu") -> tuple[type[Backend], str]:
    """The backend to run and the reason, for people.

    Args:
        name: a name of `BACKENDS`, or ``auto``: the first that can run on ``device``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: there is no such backend.
        BackendMissing: the one that was named, or every one, cannot run here.
    """
    if name != "auto":
        backend = BACKENDS[name]()
        if (why := backend.missing()) is not None:
            raise BackendMissing(f"backend {name} cannot run: {why}")
        return backend, "named by the user"
    reasons = []
    for each in BACKENDS:
        backend = BACKENDS[each]()
        if device.partition(":")[0] not in backend.devices:
            reasons.append(f"{each} does not run on {device}")
        elif (why := backend.missing()) is not None:
            reasons.append(why)
        else:
            return backend, "; ".join([f"the fastest that runs on {device}", *reasons])
    raise BackendMissing(f"no backend runs on {device}: {'; '.join(reasons)}")
