"""The GPU that kernels are launched on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from dadfi_fast.kernels.choice import Gpu, Step
from dadfi_fast.kernels.loader import cuda_core, kernel

#: What the kernels take first, in their order: x, weight, bias, residual, out, workspace.
Tensors: TypeAlias = Sequence[Tensor | None]
#: What they take next: whole numbers of 32 bits, and eps.
Numbers: TypeAlias = Sequence[int | float]


class Machine(Protocol):
    """Launches kernels: a GPU, or what stands in for one in tests."""

    gpu: Gpu

    def launch(self, step: Step, dtype: str, tensors: Tensors, numbers: Numbers) -> None:
        """Launch one step; on a GPU on PyTorch's current stream, without waiting for it."""


class CudaMachine:
    """One CUDA device.

    Args:
        device: its index, as PyTorch counts.
    """

    def __init__(self, device: int) -> None:
        self.device = device
        facts = cuda_core().Device(device).properties
        capability = torch.cuda.get_device_capability(device)
        self.gpu = Gpu(capability, facts.max_shared_memory_per_block_optin, facts.multiprocessor_count)

    def launch(self, step: Step, dtype: str, tensors: Tensors, numbers: Numbers) -> None:
        core = cuda_core()
        function = kernel(step.kernel, dtype, self.gpu.capability, self.device, self.gpu.shared_bytes)
        if step.cluster > 1:  # cuda-core counts the grid in clusters then
            config = core.LaunchConfig(
                grid=step.grid // step.cluster, cluster=step.cluster, block=step.threads, shmem_size=step.shared_bytes
            )
        else:
            config = core.LaunchConfig(grid=step.grid, block=step.threads, shmem_size=step.shared_bytes)
        pointers = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
        sized = [np.float32(number) if isinstance(number, float) else np.int32(number) for number in numbers]
        with torch.cuda.device(self.device):
            core.launch(torch.cuda.current_stream(), config, function, *pointers, *sized)


@functools.cache
def machine(device: int) -> CudaMachine:
    """The CUDA device of this index."""
    return CudaMachine(device)
