"""How far anybody gets: perturbations made with full access and many steps, under a bound on what is seen.

A generator's success says little without it: what one perturbation made for each picture cannot break, a generator
cannot. Ours, after Ruiz et al. (2020): ascent with Adam in place of sign steps, expectation over the adversary's crops
(Athalye et al. 2018), several models at once, weighed by inverse vulnerability.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import torch
from torch import Tensor

from dadfi_fast.attacks.adversary import Adversary, cut
from dadfi_fast.attacks.aimed import project, uniform
from dadfi_fast.attacks.distortion import distortion_of
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.metrics.differentiable import flip, ssimulacra2
from dadfi_fast.metrics.perceptual import PIXELS_A_DEGREE
from dadfi_fast.metrics.visibility import as_jpeg

#: No value moves further, on the [-1, 1] scale: the paper's bound.
EPS: Final = 0.05
#: d_mask above which a fake no longer pays: five times what counts as broken.
ENOUGH: Final = 0.25
#: What an ascent pays for a unit of FLIP, and of SSIMULACRA2, beyond its bound.
FLIP_WEIGHT, SSIMULACRA2_WEIGHT = 60.0, 0.08
#: Halvings that a perturbation's scale is found with, between 0 and `LARGEST`.
HALVINGS, LARGEST = 8, 2.0

#: Protected pictures [B, 3, S, S] to their d_mask [B].
Distance: TypeAlias = Callable[[Tensor], Tensor]
#: What a step of `ascend` looks at: pictures [B, 3, S, S] and what is to be raised.
Batch: TypeAlias = tuple[Tensor, Sequence[Distance]]


class Bound(ABC):
    """How much may be seen of a perturbation."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables call it."""

    def within(self, x: Tensor, delta: Tensor) -> Tensor:
        """``delta`` as a step of the ascent sees it: differentiable, such that ``x`` + ``delta`` is a picture."""
        return project(x, delta, EPS)

    def penalty(self, x: Tensor, delta: Tensor) -> Tensor:
        """What the ascent pays for what is seen of ``delta``: a scalar."""
        return delta.new_zeros(())

    @abstractmethod
    def fit(self, x: Tensor, delta: Tensor) -> Tensor:
        """``delta`` [B, 3, S, S] within the bound, each picture of ``x`` for itself."""


@dataclass(frozen=True)
class PSNRBound(Bound):
    """At least ``decibels`` for each picture."""

    decibels: float

    @property
    def name(self) -> str:
        return f"{self.decibels:g} dB"

    def within(self, x: Tensor, delta: Tensor) -> Tensor:
        delta = project(x, delta, EPS)
        rms = delta.square().mean((1, 2, 3), keepdim=True).clamp(min=1e-12).sqrt()
        return delta * (2 * 10 ** (-self.decibels / 20) / rms).clamp(max=1)

    fit = within


class JPEGBound(Bound):
    """As a JPEG of ``quality`` (4:2:0) looks, by the worse of FLIP and SSIMULACRA2.

    Args:
        eps: no value moves further, on the [-1, 1] scale.
        pixels_a_degree: of the viewer's eye; see `dadfi_fast.metrics.differentiable.flip`.
    """

    def __init__(self, quality: int, *, eps: float = EPS, pixels_a_degree: float = PIXELS_A_DEGREE) -> None:
        self.quality, self.eps, self._flip = quality, eps, partial(flip, pixels_a_degree=pixels_a_degree)
        self._known: tuple[Tensor, tuple[Tensor, Tensor]] | None = None  # an ascent asks about the same pictures again

    @property
    def name(self) -> str:
        return f"JPEG {self.quality}"

    def penalty(self, x: Tensor, delta: Tensor) -> Tensor:
        flips, scores = self.limits(x)
        seen = (x + delta).clamp(-1, 1)
        excess = FLIP_WEIGHT * (self._flip(x, seen) - flips).relu()
        return (excess + SSIMULACRA2_WEIGHT * (scores - ssimulacra2(x, seen)).relu()).sum()

    @torch.no_grad()
    def fit(self, x: Tensor, delta: Tensor) -> Tensor:
        """The largest multiple of ``delta``, up to `LARGEST`, that neither metric rates worse than the JPEG."""
        return project(x, self.scale(x, delta) * delta, self.eps)

    @torch.no_grad()
    def scale(self, x: Tensor, delta: Tensor, *, halvings: int = HALVINGS) -> Tensor:
        """What `fit` multiplies each picture's ``delta`` by: [B, 1, 1, 1]."""
        flips, scores = self.limits(x)
        low = torch.zeros(len(x), 1, 1, 1, device=x.device)
        high = torch.full_like(low, LARGEST)
        for _ in range(halvings):
            middle = (low + high) / 2
            seen = x + project(x, middle * delta, self.eps)
            good = ((self._flip(x, seen) <= flips) & (ssimulacra2(x, seen) >= scores))[:, None, None, None]
            low, high = torch.where(good, middle, low), torch.where(good, high, middle)
        return low

    def limits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """FLIP and SSIMULACRA2 of each picture's JPEG, [B] each."""
        if self._known is None or self._known[0] is not x:
            self._known = x, self._measured(x)
        return self._known[1]

    @torch.no_grad()
    def _measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pictures = ((x + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        coded = torch.stack([torch.from_numpy(as_jpeg(picture, self.quality).copy()) for picture in pictures])
        coded = coded.permute(0, 3, 1, 2).to(x) / 127.5 - 1
        return self.scores(x, coded)

    def scores(self, x: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
        """FLIP and SSIMULACRA2 of ``changed`` beside ``x``, [B] each."""
        return self._flip(x, changed), ssimulacra2(x, changed)


def ascend(
    delta: Tensor, batch: Callable[[int], Batch], bound: Bound, *, steps: int, step: float = 0.015,
    watch: Callable[[int, Tensor], None] = lambda number, delta: None, looks: int = 8, eps: float = EPS,
) -> Tensor:  # fmt: skip
    """Raise what ``batch`` names, for each picture or, with one perturbation for all of them, on average.

    Maximises the mean logarithm of min(d_mask, `ENOUGH`), which weighs by inverse vulnerability and is content in the
    end, less the bound's penalty; Adam, whose rate falls linearly to 0.

    Args:
        delta: where it begins, [B, 3, S, S], or [1, 3, S, S] for all pictures.
        batch: what step number 0, 1, ... looks at.
        step: Adam's rate at the beginning, on the [-1, 1] scale.
        watch: is told so often as ``looks`` says, in even intervals, how many steps are done, and the perturbation.
        eps: no value moves further, on the [-1, 1] scale.

    Returns:
        Of the shape of ``delta``; `Bound.fit` brings it within the bound.
    """
    delta = delta.clone().requires_grad_()
    optimizer = torch.optim.Adam([delta], lr=step, betas=(0.9, 0.99))
    due = {round(steps * look / looks) for look in range(1, looks + 1)}  # none where there are no looks
    for number in range(steps):
        optimizer.param_groups[0]["lr"] = step * (1 - number / steps)
        x, distances = batch(number)
        seen = bound.within(x, delta.expand_as(x))
        loss = bound.penalty(x, seen) - torch.stack([worth(distance(x + seen)) for distance in distances]).sum()
        optimizer.zero_grad(set_to_none=True)
        (loss / len(x)).backward()
        optimizer.step()
        with torch.no_grad():
            delta.clamp_(-eps, eps)
        if number + 1 in due:
            watch(number + 1, delta.detach())
    return delta.detach()


def worth(distance: Tensor) -> Tensor:
    """What d_mask [B] is worth to an ascent, summed over pictures."""
    return (distance.clamp(max=ENOUGH) + 1e-3).log().sum()


def start(x: Tensor, rng: torch.Generator, *, bound: float = 0.005) -> Tensor:
    """A random perturbation to begin with, of the shape of ``x``."""
    return uniform(x, bound, rng)


def distance(target: Target, x: Tensor, edit: Tensor, adversary: Adversary, rng: torch.Generator) -> Distance:
    """d_mask of ``target``'s fakes of ``x`` [B, 3, S, S] by ``edit`` [B, D], the crop drawn anew at each call."""
    clean: tuple[Tensor, Tensor] | None = None

    def measure(moved: Tensor) -> Tensor:
        nonlocal clean
        if clean is None or not adversary.exact:
            frames = None if adversary.exact else adversary.frames(len(x), rng)
            clean = _answer(target, _framed(x, frames), edit)
        else:
            frames = None
        fake, source = clean
        return distortion_of(target)(fake, target.fake(_framed(moved, frames), edit), source)

    return measure


def _framed(x: Tensor, frames: Tensor | None) -> Tensor:
    return x if frames is None else cut(x, frames, x.shape[-1])


@torch.no_grad()
def _answer(target: Target, x: Tensor, edit: Tensor) -> tuple[Tensor, Tensor]:
    """The clean fake, and its source at the model's size."""
    return target.fake(x, edit), target.model.resize(x)
