"""Checkpoints of a training run: one file, written whole or not at all, holding tensors and plain numbers only.

A compact checkpoint (`compact`) is small enough to travel: networks as float16, averages in place of what they average,
no optimizers. A training goes on from it with fresh optimizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dadfi_fast.errors import DataError
from dadfi_fast.files import atomic_file


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` through a temporary file in the same folder, so that a kill leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, temporary=f"{path.name}.partial", sync=True) as file:  # the next run overwrites what is left
        torch.save(state, file)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; a file that needs more than tensors is refused.

    Raises:
        DataError: the file is damaged, or its pickle would run code.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path} is not a checkpoint of dadfi-fast: {error}. Choose another --out folder.") from error
    return state


#: Networks of a deepfake model's trainer, and the parts that hold their averages.
AVERAGES: Mapping[str, str] = {"generator": "mean", "mapping": "mean_mapping", "style": "mean_style"}


def compact(state: Mapping[str, Any], *, critic: bool = True) -> dict[str, Any]:
    """What it takes to go on elsewhere from the checkpoint ``state`` of a deepfake model's training.

    Args:
        critic: keep it; it may be the larger part. Without it a new one has to warm up (setting ``warm_up``).

    Returns:
        Each network's state dict under its part's name, floating point as float16; ``config``, ``steps``, ``minutes``.

    Raises:
        DataError: a weight does not fit into float16.
    """
    trainer = state["trainer"]
    left_out = {part for part, mean in AVERAGES.items() if mean in trainer} | (set() if critic else {"critic"})
    networks = {
        part: {name: _half(value, f"{part}.{name}") for name, value in weights.items()}
        for part, weights in trainer.items()
        if isinstance(weights, dict) and part != "config" and not part.endswith("_opt") and part not in left_out
    }
    return networks | {"config": trainer["config"], "steps": state["steps"], "minutes": state["minutes"]}


def _half(value: Tensor, name: str) -> Tensor:
    if not value.is_floating_point():
        return value
    small = value.half()
    if not small.isfinite().all():
        raise DataError(f"{name} does not fit into float16. Resume from the full checkpoint instead.")
    return small
