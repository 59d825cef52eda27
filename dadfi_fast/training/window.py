"""Training on windows: a latent encoder works locally, so a part of each picture says what it does, at less cost."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.taesd import STRIDE
from dadfi_fast.deepfakes.torch_model import Target


class Window(Editor):
    """Runs ``whole`` on a square window of its input.

    Args:
        corner: top and left edge of the window, in pixels.
        side: of the window, in pixels.
    """

    def __init__(self, whole: Editor, corner: tuple[int, int], side: int) -> None:
        super().__init__(whole.generator, side)
        self.whole, self.corner = whole, corner

    def resize(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.image_size, self.image_size):
            return images
        top, left = self.corner
        return self.whole.resize(images)[:, :, top : top + self.image_size, left : left + self.image_size]


def windowed(target: Target, side: int, rng: torch.Generator) -> Target:
    """``target`` on a random window of ``side`` pixels, if it is a latent encoder; 0: as it is."""
    whole = target.model
    if target.family != "taesd" or not 0 < side < whole.image_size:
        return target
    top, left = (STRIDE * torch.randint((whole.image_size - side) // STRIDE + 1, (2,), generator=rng)).tolist()
    return replace(target, model=Window(whole, (top, left), side))
