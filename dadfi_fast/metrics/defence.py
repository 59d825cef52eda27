"""How much a protection changes what a deepfake model makes of a picture.

``y = mod(x)`` is the fake of the original and ``y' = mod(x_adv)`` that of the protected file as its reader decodes it;
both are clamped to [-1, 1]. Distances are per picture, in float64, and lie in [0, 4]. The threshold is that of Ruiz et
al., "Disrupting Deepfakes", 2020; the mask that of Huang et al., "CMUA-Watermark", AAAI 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dadfi_fast.types import Float32, Float64

Bool: TypeAlias = NDArray[np.bool_]

#: A fake counts as broken above this mean squared difference (19.0 dB between the two fakes).
SUCCESS: Final = 0.05
#: A pixel belongs to the mask where the clean edit changed its three channels by more than this in sum.
CHANGED: Final = 0.5


def pixel_distance(
    fake: Float32,  # [B, 3, H, W], y
    broken: Float32,  # [B, 3, H, W], y'
) -> Float64:
    """d_pix [B]: the mean over channels and pixels of ``(y' - y)^2``."""
    distance: Float64 = np.mean(_difference(fake, broken) ** 2, axis=(1, 2, 3))
    return distance


def edit_mask(
    image: Float32,  # [B, 3, H, W], x at the size of the fake
    fake: Float32,  # [B, 3, H, W], y
) -> Bool:
    """M [B, H, W]: where the clean edit changed the picture, ``sum_c |y - x| > 0.5``."""
    mask: Bool = np.abs(_difference(_clamp(image), fake)).sum(axis=1) > CHANGED
    return mask


def mask_distance(
    fake: Float32,  # [B, 3, H, W], y
    broken: Float32,  # [B, 3, H, W], y'
    mask: Bool,  # [B, H, W]
) -> Float64:
    """d_mask [B]: the mean of ``(y' - y)^2`` over the masked pixels; NaN where the mask is empty."""
    count = mask.sum(axis=(1, 2))
    total = (_difference(fake, broken) ** 2 * mask[:, None]).sum(axis=(1, 2, 3))
    return np.where(count > 0, total / (3 * np.maximum(count, 1)), np.nan)


def success(distance: Float64) -> Bool:
    """Whether each distance (any shape) is above `SUCCESS`; NaN, an empty mask, is no success."""
    above: Bool = np.nan_to_num(distance, nan=0.0) > SUCCESS
    return above


@dataclass(frozen=True)
class Scores:
    """The figures of one model over (picture, edit) pairs."""

    n_edits: int  # edits of each picture
    d_pix: float  # mean
    d_mask: float  # mean over the non-empty masks; NaN where all are empty
    sr: float  # share of pairs with d_pix above the threshold
    sr_mask: float  # share of pairs with d_mask above the threshold; an empty mask counts as a failure
    n_empty: int  # pairs with an empty mask


def score(
    d_pix: Float64,  # [N, E]
    d_mask: Float64,  # [N, E], NaN where the mask is empty
) -> Scores:
    """Summarise N >= 1 pictures and E edits of one model."""
    assert d_pix.shape == d_mask.shape and d_pix.ndim == 2 and d_pix.size, (d_pix.shape, d_mask.shape)
    empty = np.isnan(d_mask)
    return Scores(
        n_edits=d_pix.shape[1],
        d_pix=float(d_pix.mean()),
        d_mask=float(d_mask[~empty].mean()) if not empty.all() else float("nan"),
        sr=float(success(d_pix).mean()),
        sr_mask=float(success(d_mask).mean()),
        n_empty=int(empty.sum()),
    )


def protected(d_masks: Sequence[Float64]) -> Bool:
    """Whether each of N pictures is protected against every model and edit: [N].

    Args:
        d_masks: one array [N, E] a model, NaN where the mask is empty; E may differ between models.

    Edits with an empty mask say nothing and are passed over; a picture of which nothing else is left is not protected.
    Their mean is SR_all.
    """
    together = np.concatenate(d_masks, axis=1)
    empty = np.isnan(together)
    return np.logical_and((success(together) | empty).all(axis=1), ~empty.all(axis=1))


def _clamp(image: Float32) -> Float32:
    return np.clip(image, -1, 1)


def _difference(one: Float32, other: Float32) -> Float64:
    assert one.shape == other.shape and one.ndim == 4, (one.shape, other.shape)
    difference: Float64 = _clamp(other).astype(np.float64) - _clamp(one)
    return difference
