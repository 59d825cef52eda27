"""Where training computes, and with how many bits."""

from __future__ import annotations

import torch

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


def autocast(device: torch.device, *, bf16: bool) -> torch.autocast:
    """Convolutions and products in bfloat16 if ``bf16``, weights and losses in float32 all the same."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
