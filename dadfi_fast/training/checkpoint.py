"""Checkpoints of a training run: one file, written whole or not at all, holding tensors and plain numbers only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

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
        raise DataError(f"{path} is no checkpoint of this program ({error}); name another --out folder") from error
    return state
