"""One photo's way from our crop to the adversary's: the photo's own size, the codec, his crop. Drawn anew each step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dadfi_fast.attacks.adversary import cut
from dadfi_fast.training.augment import blur, jpeg, resized, rounded
from dadfi_fast.training.config import TrainConfig


@dataclass(frozen=True)
class Transform:
    """What is drawn for one batch; `clean` and `protected` see the same geometry, only `protected` meets the codec."""

    side: int  # pixels of the crop in the photo
    frames: Tensor | None  # [B, 2, 3], the adversary's crop of each picture; None where it is ours
    quality: Tensor | None  # [B] JPEG quality
    chroma: int  # 2: 4:2:0, 1: 4:4:4
    phase: tuple[int, int]  # where the codec's blocks begin
    sigma: float | None  # blur, pixels

    def crop(self, x: Tensor) -> Tensor:
        """What the generator sees of ``x`` [B, 3, S, S] in [-1, 1]: a small face is enlarged to S, and looks it."""
        return resized(resized(x, self.side), x.shape[-1])

    def clean(self, x: Tensor) -> Tensor:
        """The adversary's crop of the unprotected photo; ``x`` [B, 3, S, S] in [-1, 1]."""
        return self._crop(resized(x, self.side))

    def protected(self, x: Tensor, delta: Tensor) -> Tensor:
        """His crop of the file that was written from ``x`` with ``delta`` (both [B, 3, S, S])."""
        photo = rounded((resized(x, self.side) + resized(delta, self.side)).clamp(-1, 1))
        if self.sigma is not None:
            photo = blur(photo, self.sigma)
        if self.quality is not None:
            moved = photo.roll(self.phase, dims=(2, 3))
            photo = jpeg(moved, self.quality, chroma=self.chroma).roll((-self.phase[0], -self.phase[1]), dims=(2, 3))
        return self._crop(photo)

    def _crop(self, photo: Tensor) -> Tensor:
        return photo if self.frames is None else cut(photo, self.frames, photo.shape[-1])


def draw(config: TrainConfig, x: Tensor, rng: torch.Generator, *, strength: float = 1.0) -> Transform:
    """A transform for the batch ``x`` [B, 3, S, S]; the direct way where the recipe has no transforms.

    Args:
        strength: in [0, 1], how far everything that is drawn may be from the direct way.
    """
    count, size = len(x), x.shape[-1]
    if not config.transforms:
        return direct(size)
    chosen = int(torch.randint(len(config.photo_scales), (), generator=rng))
    scale = config.photo_scales[chosen]
    side = round(size * scale) if _chance(strength, rng) else size
    low, high = config.jpeg_quality
    low = config.jpeg_floors[chosen] if config.jpeg_floors else low
    low = round(high - strength * (high - low))
    coded, blurred = _chance(strength * config.jpeg_share, rng), _chance(strength * config.blur_share, rng)
    quality = torch.randint(low, high + 1, (count,), generator=rng) if coded else None
    sigma = config.blur_sigma * _uniform(0.4, 1.0, rng) if blurred else None
    chroma = 2 if _chance(0.7, rng) and scale >= config.subsampled_from else 1
    phase = torch.randint(8 * chroma, (2,), generator=rng).tolist()
    return Transform(side, _frames(config, count, rng, strength), quality, chroma, (phase[0], phase[1]), sigma)


def direct(side: int) -> Transform:
    """No transform at all: the whole crop, only rounded to levels."""
    return Transform(side, None, None, 1, (0, 0), None)


def compressed(side: int, quality: int, count: int) -> Transform:
    """JPEG of one quality, 4:2:0, and nothing else: for validation."""
    return Transform(side, None, torch.full((count,), quality), 2, (0, 0), None)


def _frames(config: TrainConfig, count: int, rng: torch.Generator, strength: float) -> Tensor:
    """The adversary's crop of each picture: most cut nearly as we do, some quite otherwise (``crop_power``)."""
    far = strength * torch.rand(count, generator=rng) ** config.crop_power
    about = 2 * torch.rand(count, 3, generator=rng) - 1
    frames = torch.zeros(count, 2, 3)
    scale = (1 - strength * (1 - config.crop_share)) * (1 + config.crop_zoom * far * about[:, 0])
    frames[:, 0, 0], frames[:, 1, 1] = scale, scale
    frames[:, :, 2] = 2 * config.crop_shift * far[:, None] * about[:, 1:]
    return frames


def _uniform(low: float, high: float, rng: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=rng))


def _chance(share: float, rng: torch.Generator) -> bool:
    return float(torch.rand((), generator=rng)) < share
