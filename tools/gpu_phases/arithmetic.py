"""What a training step costs, counted from the step itself, and the rate that an H100 should have by that.

Counted on the CPU: floating-point operations (by `torch.utils.flop_counter`), the bytes that every operation of PyTorch
reads and writes, and how many operations there are. Steps of one and two pictures give what a picture adds, and what
does not depend on the batch (the optimizers' traffic); the launches are the same for any batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dadfi_fast.training.data import Faces
from dadfi_fast.training.loop import step_rng
from gpu_phases.families import trainer_of
from gpu_phases.plan import FAMILIES, SIZES, Plan

#: Of an H100: a matrix product and a copy as measured, and the share that convolutions of these sizes may reach.
FLOPS, BYTES, SHARE = 800e12, 3.0e12, 0.35
#: Seconds between the launches of operations from Python, and of a graph's kernels.
EAGER, GRAPH = 10e-6, 1.5e-6


class Traffic(TorchDispatchMode):
    """Counts operations that compute, their arithmetic, and the bytes of what they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.bytes, self.count = 0, 0, 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        if not op.is_view and "empty" not in str(op) and "detach" not in str(op):
            tensors = [t for t in pytree.tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in tensors)
            self.count += 1
        if (arithmetic := flop_registry.get(op._overloadpacket)) is not None:
            self.flops += arithmetic(*args, **(kwargs or {}), out_val=out)
        return out


def counted(family: str, sizes: str) -> tuple[float, float, int, int]:
    """Operations and bytes of a step at the usual batch, its launches, and that batch."""
    rng = np.random.default_rng(0)
    labels = torch.eye(5)[torch.arange(12) % 3]
    faces = Faces(rng.integers(0, 256, (12, 3, 128, 128), dtype=np.uint8), ("x",) * 12, labels)
    nowhere: Any = dict.fromkeys(("out", "work", "data", "start"))
    about: Any = {"image_size": 128, "recipe": "", "seed": 0, "rehearse": False, "grace": 0, "commit": ""}
    plan = Plan(**nowhere, **about, device="cpu", sizes=sizes)
    batch = trainer_of(plan, family, faces, "none", SIZES[sizes][family]).config.batch
    counts = []
    for count in (1, 2):
        trainer = trainer_of(plan, family, faces, "none", {**SIZES[sizes][family], "batch": count})
        for optimizer in (getattr(trainer, part) for part in trainer.parts if part.endswith("_opt")):
            optimizer.param_groups[0]["fused"] = True  # as on a GPU: one operation for all weights
        trainer.step(0, step_rng(0, 0))
        with Traffic() as traffic:
            trainer.step(1, step_rng(0, 1))
        counts.append((traffic.flops, traffic.bytes, traffic.count))
    (flops_1, bytes_1, _), (flops_2, bytes_2, launches) = counts
    more = batch - 1
    return flops_1 + more * (flops_2 - flops_1), bytes_1 + more * (bytes_2 - bytes_1), launches, batch


def print_table() -> None:
    """A row for each preset and family, as docs/gpu-run.md has them."""
    print("| sizes | family | batch | TFLOP a step | GB a step | launches | eager, steps/s | graphs, steps/s |")
    print("|---|---|---|---|---|---|---|---|")
    for sizes in ("thin", "fitted", "published"):
        for family in FAMILIES:
            flops, traffic, launches, batch = counted(family, sizes)
            work = flops / (SHARE * FLOPS) + traffic / BYTES
            eager, graphs = (1 / max(work, launches * gap) for gap in (EAGER, GRAPH))
            cells = (f"{flops / 1e12:.2f}", f"{traffic / 1e9:.1f}", str(launches))
            rates = (f"{eager:.0f}", f"{graphs:.0f}")
            print("|", " | ".join((sizes, family, str(batch), *cells, *rates)), "|", flush=True)
