"""The ways between photo, small copy and crop, on tensors: the same as `faces.shrink` and `faces.align`, on any device.

They take the same steps in the same order, so that a picture goes the same way on a GPU as on a CPU; roundings
may differ by a level. On a CPU the tests compare them with the others. On a GPU they have never run.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

from dadfi_fast.faces.align import Square, feather
from dadfi_fast.faces.shrink import LINEAR, halvings
from dadfi_fast.types import LEVELS

if TYPE_CHECKING:
    from torch import Tensor


def shrink(pixels: Tensor, width: int, height: int) -> Tensor:
    """``pixels`` [H, W, 3] uint8 as [3, height, width] float32 in whole levels; as `faces.shrink.shrink` does."""
    from torch.nn import functional as F

    planes = pixels.permute(2, 0, 1)[None].float()
    for _ in range(halvings(pixels.shape[1], pixels.shape[0], width, height)):
        planes = (F.avg_pool2d(planes, 2) + 0.5).floor()  # OpenCV rounds a half up when it halves
    factor = max(1, math.ceil(max(planes.shape[3] / width, planes.shape[2] / height) / LINEAR))
    between = height * factor, width * factor
    if between != tuple(planes.shape[2:]):
        planes = F.interpolate(planes, between, mode="bilinear", align_corners=False).round()
    return F.avg_pool2d(planes, factor).round()[0] if factor > 1 else planes[0]


def cut(pixels: Tensor, where: Square) -> Tensor:
    """The pixels [side, side, 3] of a square of a photo [H, W, 3]; edge pixels repeated outside of it."""
    import torch

    rows, columns = (
        torch.arange(start, start + where.side, device=pixels.device).clamp(0, length - 1)
        for start, length in zip((where.y0, where.x0), pixels.shape[:2], strict=True)
    )
    return pixels[rows[:, None], columns]


def to_network(crop: Tensor, size: int) -> Tensor:
    """A crop [side, side, 3] uint8 as the generator sees it: [3, size, size] float32 in [-1, 1]."""
    return shrink(crop, size, size) / LEVELS - 1


def to_photo(delta: Tensor, side: int) -> Tensor:
    """A crop's perturbation [3, S, S] on the [-1, 1] scale, for the photo: [side, side, 3] in levels, edge faded."""
    from torch.nn import functional as F

    faded = F.interpolate(
        (delta * _mask(delta.shape[-1], str(delta.device)))[None], (side, side), mode="bilinear", align_corners=False
    )
    return faded[0].permute(1, 2, 0)


@functools.lru_cache(maxsize=8)
def _mask(size: int, device: str) -> Tensor:
    """`faces.align.feather`, brought to the device once."""
    import torch

    return torch.from_numpy(feather(size)).to(device)


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """A tensor [H, W, 3] stored with an EXIF ``orientation`` (1 to 8) as it is to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(0, 1)
    flip = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation)
    return (pixels.flip(flip) if flip else pixels).contiguous()
