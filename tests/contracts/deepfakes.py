"""Every family of deepfake models, small and random, for the tables of tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dadfi_fast.deepfakes import stargan, stargan2, stgan
from dadfi_fast.deepfakes.edits import ATTRIBUTES, Edits, edits_of
from dadfi_fast.deepfakes.stgan_sac import AttentiveGenerator

STYLES = [{"name": f"{colour} latent 1", "attribute": colour, "value": 1} for colour in ATTRIBUTES[:3]]


@dataclass(frozen=True)
class Family:
    """How to make a model of a family: tiny, and as published; both random."""

    name: str
    tiny: Callable[[], nn.Module]  # for pictures of 32 px, five attributes
    published: Callable[[], nn.Module]
    published_size: int  # pixels
    facts: dict[str, Any]

    @property
    def rule(self) -> Edits:
        """The edits that the tiny model takes."""
        return edits_of(self.name, self.facts, where="a test")


def _stargan2(image_size: int, count: int, **sizes: Any) -> nn.Module:
    return stargan2.StyledGenerator(stargan2.Generator(image_size, **sizes), torch.randn(count, 64))


LABELS = {"labels": list(ATTRIBUTES)}
FAMILIES = [
    Family("stargan", lambda: stargan.Generator(conv_dim=4, repeat_num=2), stargan.Generator, 128, LABELS),
    Family("stgan", lambda: stgan.Generator(4, 5, 3), stgan.Generator, 128, LABELS),
    Family("stgan-sac", lambda: AttentiveGenerator(4, 5, 3), AttentiveGenerator, 128, LABELS),
    Family(
        "stargan2",
        lambda: _stargan2(32, 3, high_pass=0, width=4, max_width=8),
        lambda: _stargan2(256, 4),
        256,
        LABELS | {"styles": STYLES},
    ),
]


def shaken(module: nn.Module) -> nn.Module:
    """As after training: no two weights alike (the exporter stores equal ones once), running statistics moved."""
    torch.manual_seed(0)
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return module.eval()
