"""A universal watermark, as CMUA (Huang et al., AAAI 2022) adds it: the same pattern on every crop."""

from __future__ import annotations

import cv2
import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.types import Budget, Float32


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
