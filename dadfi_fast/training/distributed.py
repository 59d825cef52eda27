"""Several processes that train one model (torchrun): each has its own batch, all take the mean of the gradients.

Outside a process group everything here does nothing, so that a trainer is written once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch import distributed as dist


@contextmanager
def group() -> Iterator[None]:
    """The process group that torchrun's environment names, for as long as the block runs; none without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    # Gradients are where the networks are; what all agree on besides (`follow_first`, `any_of_all`) is small and on the
    # CPU, whatever there is.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """The number of this process, 0 being the one that writes."""
    return dist.get_rank() if _together() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _together() else 1


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes (what DistributedDataParallel does, for any loss)."""
    if not _together():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def follow_first(value: Tensor) -> None:
    """Overwrite ``value`` in place with that of process 0."""
    if _together():
        dist.broadcast(value, 0)


def any_of_all(flag: bool) -> bool:
    """Whether ``flag`` holds in any process; all get the same answer."""
    if not _together():
        return flag
    votes = torch.tensor(float(flag))
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return bool(votes.item())


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
