"""A second device without a GPU: tensors that call themselves elsewhere, are on the CPU, and never mix with it.

Code that forgets to move a tensor to the GPU, or back, works wherever there is none. On this device it fails as it
would on one: operations with tensors of both sides are refused, as is `numpy`. What it cannot show is what CUDA does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from dadfi_fast.backends import registry

NAME = "pretend"
_aten = torch.ops.aten
#: What may take tensors of both sides: copies, and indices, which CUDA takes from the CPU, too.
_EITHER = {_aten.copy_.default, _aten._to_copy.default, _aten.index.Tensor, _aten.index_put_.default}

#: There is no half precision on the device: where it is asked for, everything stays as it is.
_no_autocast = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")


class Module:
    """What PyTorch asks of the module ``torch.pretend``."""

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def is_available(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Its numbers are the CPU's."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class There(Tensor):
    """A tensor on the device; its values are in ``held``."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        like: dict[str, Any] = {"strides": held.stride(), "dtype": held.dtype, "device": f"{NAME}:0"}
        tensor: There = torch.Tensor._make_wrapper_subclass(cls, held.size(), **like)
        return tensor

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.held})"

    def __reduce_ex__(self, protocol: Any) -> Any:  # as a checkpoint of a GPU is read: onto the CPU
        return self.held.__reduce_ex__(protocol)

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(op, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """Sees what `There` cannot: tensors that are made on the device, or moved there."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and to say so to the compiler means to import it

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(op, args, kwargs or {})


# Here and not when it is asked for: autograd counts the devices at its first step back, in whichever test that is.
_setup_privateuseone_for_python_backend(NAME, backend_module=Module())
_no_autocast.fallback(torch.library.fallthrough_kernel)


@contextmanager
def pretend_device() -> Iterator[str]:
    """The name of the device, whose tensors are told apart as long as the block runs."""
    torch._C._set_only_lift_cpu_tensors(True)  # so that `torch.tensor(values, device=...)` can be seen, too
    known = re.compile(f"{registry._DEVICE.pattern}|{NAME}")
    try:
        with _Everywhere(), mock.patch.object(registry, "_DEVICE", known):
            yield NAME
    finally:
        torch._C._set_only_lift_cpu_tensors(False)


def _call(op: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    given = list(_tensors((args, kwargs)))
    there = [a for a in given if isinstance(a, There)]
    here = [a for a in given if not isinstance(a, There)]
    if there and op not in _EITHER and any(tensor.dim() for tensor in here):
        raise RuntimeError(f"{op}: expected all tensors to be on the same device")
    if op is _aten.copy_.default:
        op(*_each(_held, args), **kwargs)
        return args[0]
    onto, wanted = bool(there), kwargs.get("device")
    if wanted is not None:
        onto, kwargs = torch.device(wanted).type == NAME, kwargs | {"device": torch.device("cpu")}
    back = {id(tensor.held): tensor for tensor in there}  # what an operation in place gives back is what it got
    done = op(*_each(_held, args), **_each(_held, kwargs))
    return _each(lambda out: back[id(out)] if id(out) in back else There(out), done) if onto else done


def _held(tensor: Tensor) -> Tensor:
    return tensor.held if isinstance(tensor, There) else tensor


# PyTorch's own `torch.utils._pytree` takes ten times as long, and operations know no other containers than these.
def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _each(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """``value`` with all of its tensors changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _each(change, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_each(change, part) for part in value])
    return value
