"""Contact sheets: rows of pictures side by side in one PNG, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def save_sheet(path: Path, columns: Sequence[Tensor]) -> None:
    """Write ``columns`` (each [B, 3, S, S] in [-1, 1]) as a sheet: one row a picture, one column an entry."""
    rows = torch.cat([c.detach().float().clamp(-1, 1) for c in columns], dim=3)
    sheet = torch.cat(list(rows), dim=1).add(1).mul(127.5).round().byte().cpu()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(sheet.permute(1, 2, 0).numpy())).save(path)
