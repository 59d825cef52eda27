"""The perturbation, back in a photo that lies on a device: what `dadfi_fast.protect.blend` does, on tensors.

Here it is added in float32 and there in fixed point: a pixel differs by a level at the most. On a GPU it has never run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dadfi_fast.faces.align import Square
from dadfi_fast.faces.on_device import to_photo
from dadfi_fast.protect.blend import limit
from dadfi_fast.types import Budget

if TYPE_CHECKING:
    from torch import Tensor


def blend(
    pixels: Tensor, where: Sequence[Square], deltas: Tensor, budget: Budget, *, grey: bool
) -> tuple[Tensor, Tensor]:
    """Add every face's perturbation to its square.

    Args:
        pixels: [H, W, 3] uint8; not changed.
        where: [B], the squares.
        deltas: [B, 3, S, S] float32 on the [-1, 1] scale, within ``budget``.
        budget: no pixel changes by more than its levels, rounded, also where squares overlap.
        grey: all channels change alike.

    Returns:
        the protected pixels, and the largest change in levels, a whole number in a tensor: nothing is waited for.
    """
    import torch

    blended, most = pixels.clone(), limit(budget)
    if grey:
        deltas = deltas.mean(dim=1, keepdim=True).expand_as(deltas)
    largest = torch.zeros((), dtype=torch.int16, device=pixels.device)
    for square, delta in zip(where, deltas, strict=True):
        rows, columns, inner_rows, inner_columns = square.inside(*pixels.shape[:2])
        before = pixels[rows, columns].to(torch.int16)
        added = (blended[rows, columns] + to_photo(delta, square.side)[inner_rows, inner_columns]).round()
        within = added.clamp(0, 255).to(torch.int16).clamp(before - most, before + most)
        blended[rows, columns] = within.to(torch.uint8)
    for square in where:
        rows, columns, _, _ = square.inside(*pixels.shape[:2])
        change = (blended[rows, columns].to(torch.int16) - pixels[rows, columns].to(torch.int16)).abs()
        largest = torch.maximum(largest, change.max())
    return blended, largest
