"""STGAN-SAC: an STGAN whose transfer units attend to space and channels. OUR RECONSTRUCTION.

DADFI's paper names "STGAN-SAC (Hou & Nayak 2023)" as a target; no such paper, code or weights could be found. What
stands here is STGAN with the two attentions of CBAM (Woo et al., ECCV 2018, Eq. 2 and 3) behind every transfer unit: a
channel gate from the mean and the maximum of each plane, then a spatial gate from the mean and the maximum over the
channels.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from dadfi_fast.deepfakes.stgan import Generator, TransferUnit


class Attention(nn.Module):
    """Channel gate, then spatial gate: [B, C, H, W] -> the same, each value scaled by factors in (0, 1).

    Args:
        width: C.
        reduction: the channel gate's hidden layer has C / reduction channels.
    """

    def __init__(self, width: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(width // reduction, 1)
        self.channel = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, width, 1))
        self.space = nn.Conv2d(2, 1, 7, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        mean, peak = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        x = x * torch.sigmoid(self.channel(mean) + self.channel(peak))
        over = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.space(over))


class AttentiveTransferUnit(TransferUnit):
    """A transfer unit whose selected skip goes through `Attention`; the state that is passed on does not."""

    def __init__(self, width: int, state_width: int) -> None:
        super().__init__(width, state_width)
        self.attention = Attention(width)

    def forward(self, skip: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        chosen, passed = super().forward(skip, state)
        return self.attention(chosen), passed


#: The generator of this family; arguments as in `dadfi_fast.deepfakes.stgan.Generator`.
AttentiveGenerator = partial(Generator, unit=AttentiveTransferUnit)
