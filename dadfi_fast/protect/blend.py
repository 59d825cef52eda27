"""The perturbation, back in the photo: enlarged, feathered, added, rounded, and never beyond the budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np

from dadfi_fast.faces.align import Square, to_photo
from dadfi_fast.types import Budget, Face, Float32, Photo, Protected, UInt8, UInt16


def blend(photo: Photo, faces: Sequence[Face], where: Sequence[Square], deltas: Float32, budget: Budget) -> Protected:
    """Add every face's perturbation to its square.

    Args:
        photo: its pixels are changed in place and become those of the result: a copy of a whole photo costs as much as
            adding the perturbation does.
        faces: [B], for the result.
        where: [B], their squares.
        deltas: [B, 3, S, S] on the [-1, 1] scale, within ``budget``.
        budget: no pixel changes by more than its levels, rounded, also where squares overlap.
    """
    pixels = photo.pixels
    height, width = pixels.shape[:2]
    places = [each.inside(height, width) for each in where]
    before = [pixels[rows, columns].copy() for rows, columns, _, _ in places]
    crowded = any(_overlap(a, b) for a, b in combinations(where, 2))
    if photo.encoding.mode in ("L", "LA", "I;16"):
        deltas = np.broadcast_to(deltas.mean(axis=1, keepdims=True), deltas.shape)
    for (rows, columns, inner_rows, inner_columns), old, each, delta in zip(places, before, where, deltas, strict=True):
        levels = to_photo(delta, each.side)[inner_rows, inner_columns]
        # One pass that adds, rounds and saturates; `addWeighted` takes six times as long.
        changed = cv2.add(pixels[rows, columns], levels, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
        pixels[rows, columns] = _within(changed, old, limit(budget)) if crowded else changed
    linf = max((_largest(pixels[p[0], p[1]], old) for p, old in zip(places, before, strict=True)), default=0)
    return Protected(photo, pixels, tuple(faces), linf, _deepen(photo, places))


def limit(budget: Budget) -> int:
    """The largest change of a pixel in levels: the budget, rounded."""
    return int(budget.levels + 0.5)


def _overlap(a: Square, b: Square) -> bool:
    x, y = (a, b) if a.x0 < b.x0 else (b, a), (a, b) if a.y0 < b.y0 else (b, a)
    return x[1].x0 < x[0].x0 + x[0].side and y[1].y0 < y[0].y0 + y[0].side


def _largest(pixels: UInt8, old: UInt8) -> int:
    """The largest difference; one pass, without a signed copy."""
    return round(cv2.norm(pixels, old, cv2.NORM_INF))


def _within(changed: UInt8, old: UInt8, levels: int) -> UInt8:
    """``changed`` brought within ``levels`` of ``old``, for the sum of perturbations where squares overlap."""
    low: UInt8 = np.maximum(old, levels) - np.uint8(levels)
    high: UInt8 = np.minimum(old, 255 - levels) + np.uint8(levels)
    return np.clip(changed, low, high)


def _deepen(photo: Photo, places: Sequence[tuple[slice, slice, slice, slice]]) -> UInt16 | None:
    """The 16-bit pixels: the upper byte is that of the 8-bit pixels, the lower stays, so both change by the same."""
    deep = photo.deep
    if deep is None:
        return None
    for rows, columns, _, _ in places:
        region = deep[rows, columns]
        region &= 0xFF
        region |= photo.pixels[rows, columns].astype(np.uint16) << 8
    return deep
