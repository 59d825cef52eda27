"""Which backend runs, and why. A backend that the user names runs or is an error: there is no silent second choice."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from dadfi_fast.backends import cuda
from dadfi_fast.backends.base import Backend
from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.registry import Registry, did_you_mean, lazy

#: Name -> what imports the backend. In the order in which ``auto`` tries them; `missing` loads no framework.
BACKENDS: Registry[Callable[[], type[Backend]]] = Registry("backend")


BACKENDS.add("openvino")(lazy("dadfi_fast.backends.openvino", "OpenVINO"))
BACKENDS.add("tensorrt")(lazy("dadfi_fast.backends.tensorrt.backend", "TensorRT"))
BACKENDS.add("tensorrt-rtx")(lazy("dadfi_fast.backends.tensorrt.backend", "TensorRTRTX"))
BACKENDS.add("onnxruntime")(lazy("dadfi_fast.backends.onnxruntime", "OnnxRuntime"))
BACKENDS.add("torch")(lazy("dadfi_fast.backends.torch", "Torch"))


_DEVICE: Final = re.compile(r"cpu|cuda(:\d{1,3})?")
#: What other programs call a GPU.
_GPU: Final = re.compile(r"(gpu|nvidia)(:\d+)?", re.IGNORECASE)


def check_device(name: str) -> str:
    """``name``, if it is that of a device, whether or not this machine has it.

    Raises:
        UsageError: it is neither ``cpu`` nor ``cuda`` nor ``cuda:N``.
    """
    if _DEVICE.fullmatch(name):
        return name
    hint = " (did you mean 'cuda'?)" if _GPU.fullmatch(name) else did_you_mean(name, ("cpu", "cuda", "auto"))
    raise UsageError(f"unknown device {name!r}{hint}. Available: auto, cpu, cuda, cuda:N")


def choose(name: str = "auto", *, device: str = "cpu") -> tuple[type[Backend], str]:
    """The backend to run and the reason, for people.

    Args:
        name: a name of `BACKENDS`, or ``auto``: the first that can run on ``device``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: there is no such backend, or no such device.
        BackendMissing: the one that was named, or every one, cannot run here.
    """
    check_device(device)
    if name != "auto":
        backend = BACKENDS[name]()
        on_it = device.partition(":")[0] in backend.devices
        if (why := backend.missing_on(device) if on_it else backend.missing()) is not None:
            raise BackendMissing(f"backend {name} cannot run: {why}")
        return backend, "named by the user"
    reasons = []
    for each in BACKENDS:
        backend = BACKENDS[each]()
        if device.partition(":")[0] not in backend.devices:
            reasons.append(f"{each} does not run on {device}")
        elif (why := backend.missing_on(device)) is not None:
            reasons.append(why)
        else:
            # docs/backends.md: measured on CPUs; on GPUs nothing has run yet.
            why = "the fastest" if device == "cpu" else "not measured, the first"
            return backend, "; ".join([f"{why} that runs on {device}", *reasons])
    raise BackendMissing(f"no backend runs on {device}: {'; '.join(reasons)}")


def choose_device(backend: str = "auto", device: str = "auto") -> tuple[str, str]:
    """The device to run on and the reason, for people. Loads no framework where the driver finds no GPU.

    Args:
        backend: a name of `BACKENDS`, or ``auto``: any of them.
        device: ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is a GPU that ``backend`` can use, else the CPU.

    Raises:
        UsageError: there is no such backend, or no such device.
    """
    if device != "auto":
        return check_device(device), "named by the user"
    kinds = [BACKENDS[name]() for name in (BACKENDS if backend == "auto" else (backend,))]
    if not any("cpu" in kind.devices for kind in kinds):
        return "cuda", f"{backend} runs on GPUs only"
    if not (kinds := [kind for kind in kinds if "cuda" in kind.devices]):
        return "cpu", f"{backend} runs on CPUs only"
    if backend != "torch" and (why := cuda.missing()) is not None:  # PyTorch's own answer includes AMD's GPUs
        return "cpu", why.partition(". ")[0]  # how to install a driver is for who names a GPU
    reasons = [kind.missing_on("cuda") for kind in kinds]
    if None in reasons:
        return "cuda", f"{kinds[reasons.index(None)].name} can use a GPU"
    return "cpu", "; ".join(map(str, reasons))
