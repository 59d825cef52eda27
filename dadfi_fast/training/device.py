"""Where training computes, with how many bits, and how data gets there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dadfi_fast.backends.registry import choose_device
from dadfi_fast.backends.torch import Torch
from dadfi_fast.errors import BackendMissing


def torch_device(name: str) -> torch.device:
    """The device called ``name``: cpu, cuda or cuda:N; auto is a GPU that PyTorch can use, else the CPU.

    Raises:
        BackendMissing: PyTorch does not see that GPU.
    """
    name, _ = choose_device("torch", name)
    if name.partition(":")[0] == "cuda" and (why := Torch.missing_on(name)) is not None:
        raise BackendMissing(why)
    return torch.device(name)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``. A GPU copies it from pinned memory, so that the caller does not wait."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def placed(module: nn.Module, device: torch.device) -> nn.Module:
    """``module`` on ``device``; on a GPU its weights are channels last, as tensor cores read them."""
    module.to(device)
    if device.type == "cuda":
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def autocast(device: torch.device, *, bf16: bool) -> torch.autocast:
    """Convolutions and products in bfloat16 if ``bf16``, weights and losses in float32 all the same."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
