"""Antialiased bilinear resize in numpy, equal to ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)``.

It is how the deepfake models shrink a crop to the size that they work at; here without torch.
"""

from __future__ import annotations

import functools

import numpy as np

from dadfi_fast.types import Float32


def resize(image: Float32, size: int) -> Float32:
    """``image`` [..., H, W] to [..., size, size]; every output is a weighted mean of inputs, so the range is kept."""
    height, width = image.shape[-2:]
    rows = image if height == size else np.matmul(weights(height, size), image)
    return rows if width == size else np.matmul(rows, weights(width, size).T)


@functools.lru_cache(maxsize=256)
def weights(source: int, target: int) -> Float32:
    """The matrix [target, source] of a triangle filter as wide as the scale (at least 1); its rows sum to 1."""
    scale = source / target
    radius = max(scale, 1.0)
    centre = (np.arange(target) + 0.5) * scale
    offset = np.arange(source) + 0.5 - centre[:, None]
    triangle = np.clip(1 - np.abs(offset) / radius, 0, None)
    matrix: Float32 = (triangle / triangle.sum(axis=1, keepdims=True)).astype(np.float32)
    return matrix
