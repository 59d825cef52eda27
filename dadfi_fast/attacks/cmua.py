"""CMUA-Watermark (Huang et al., AAAI 2022): one pattern, computed once, added to every crop.

Adding one needs no torch; computing one does (`dadfi_fast.attacks.fusion`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dadfi_fast.attacks.base import Attack, Calls
from dadfi_fast.types import Budget, Float32

if TYPE_CHECKING:
    from dadfi_fast.attacks.fusion import Batch
    from dadfi_fast.deepfakes.torch_model import Target


class Watermark(Attack):
    """Adds a precomputed pattern [3, S, S] on the [-1, 1] scale, resized to the crop where the sizes differ."""

    def __init__(self, budget: Budget, pattern: Float32) -> None:
        super().__init__(budget)
        self.pattern = pattern

    def run(self, crops: Float32) -> Float32:
        size = crops.shape[-1]
        pattern = self.pattern
        if pattern.shape[-1] != size:
            rows = cv2.resize(pattern.transpose(1, 2, 0), (size, size))
            pattern = np.asarray(rows, dtype=np.float32).transpose(2, 0, 1)
        return np.broadcast_to(pattern, crops.shape)


def train_watermark(
    targets: Sequence[Target], batches: Sequence[Batch], budget: Budget, *, tuned: bool = False, **options: Any
) -> Watermark:
    """Compute a watermark against ``targets`` on ``batches``: the pictures [B, 3, S, S] and their labels [B, A].

    Args:
        tuned: whether to look for each model's length of step first (`fusion.tune`), which costs several times as much.
        options: those of `fusion.fuse`.

    Raises:
        ValueError: there is no batch.
    """
    from dadfi_fast.attacks.fusion import fuse, tune

    calls = Calls()
    if tuned:
        options["step"] = tune(targets, batches, eps=budget.eps, calls=calls, **options)
    mark = Watermark(budget, fuse(targets, batches, eps=budget.eps, calls=calls, **options))
    mark.spent = calls
    return mark
