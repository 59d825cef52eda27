"""A deepfake model as an adversary runs it, whatever its family: any square crop in, edited picture out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Editor(nn.Module):
    """A family's generator at the size that it works at.

    Args:
        generator: called with pictures [B, 3, S, S] in [-1, 1] and edits [B, E]; same shape and range out.
        image_size: S, in pixels.
    """

    def __init__(self, generator: nn.Module, image_size: int) -> None:
        super().__init__()
        self.generator, self.image_size = generator, image_size

    def resize(self, images: Tensor) -> Tensor:
        """The model's own antialiased, differentiable resize: [B, 3, H, W] -> [B, 3, image_size, image_size]."""
        if images.shape[-2:] == (self.image_size, self.image_size):
            return images
        size = (self.image_size, self.image_size)
        return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)

    def fake(self, images: Tensor, edit: Tensor) -> Tensor:
        """Edit ``images`` [B, 3, H, W] in [-1, 1] as ``edit`` [B, E] says; [B, 3, S, S] in [-1, 1]."""
        out: Tensor = self.generator(self.resize(images), edit)
        return out

    forward = fake


def planes(labels: Tensor, like: Tensor) -> Tensor:
    """``labels`` [B, A] as constant planes [B, A, H, W], of the size and dtype of ``like`` [B, C, H, W]."""
    return labels[:, :, None, None].expand(-1, -1, like.shape[2], like.shape[3]).to(like.dtype)


def with_planes(x: Tensor, labels: Tensor) -> Tensor:
    """``x`` [B, C, H, W] and ``labels`` [B, A] as planes behind it: [B, C + A, H, W]."""
    return torch.cat([x, planes(labels, x)], dim=1)


def without_statistics(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict less the running statistics that instance norms keep and never use."""
    return {k: v for k, v in state.items() if not k.rpartition(".")[2].startswith(("running_", "num_batches"))}
