"""The gallery: thumbnails of what a check sees, few enough for a page; of more, those of the least protected photos."""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import cv2
import numpy as np
from PIL import Image

from dadfi_fast.check.callbacks import Callback
from dadfi_fast.check.conditions import WRITTEN
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.preprocess import Crop
from dadfi_fast.check.runner import Key
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.types import LEVELS, Float32, Float64, UInt8

#: Bytes that all pictures of a page may have, as base64 with the markup around them.
BUDGET: Final = 18_000_000
#: Bytes of markup that come with a fake, and with a face.
MARKUP: Final = 330, 1200
#: Faces of a photo whose pictures are kept: its least protected ones.
FACES: Final = 4
#: How many times as strong the difference is shown.
GAIN: Final = 20
#: Photos that the thumbnails are sized for; of a larger sample some go without.
PLANNED: Final = 300


@dataclass(frozen=True)
class Size:
    """How large thumbnails are, and what they take on average (measured on CASIA faces and a StarGAN of 64 px)."""

    photo: int  # pixels a side
    fake: int  # pixels a side, at most: a fake is never enlarged
    quality: int  # of WebP, for the fakes
    bytes_photo: int  # of the three pictures of a face
    bytes_fake: int  # of the two pictures of an edit


#: From the best to the smallest.
SIZES: Final = (
    Size(256, 128, 75, 22_000, 3000),
    Size(192, 128, 70, 14_000, 2700),
    Size(192, 96, 70, 14_000, 2000),
    Size(192, 64, 70, 14_000, 1500),
    Size(160, 64, 50, 11_000, 1200),
    Size(128, 64, 50, 8000, 1200),
    Size(128, 48, 50, 8000, 900),
)


def plan(n: int, edits: int) -> Size:
    """The best size at which ``n`` photos of one face, with ``edits`` edits by all models together, fit a page."""
    share = 0.9 * BUDGET / max(1, min(n, PLANNED))  # a tenth is left to photos of several faces

    def needed(size: Size) -> float:
        return (size.bytes_photo + edits * size.bytes_fake) * 4 / 3 + MARKUP[1] + edits * MARKUP[0]

    return next((size for size in SIZES if needed(size) <= share), SIZES[-1])


@dataclass(frozen=True)
class Fake:
    """Two thumbnails side by side, as one WebP file: the fake of the original and that of the protected picture."""

    model: str
    edit: int
    both: bytes
    d_mask: float  # NaN where the edit changed nothing


@dataclass(eq=False)
class Shots:
    """The thumbnails of one face, WebP files; grows while the models run."""

    number: int  # of the face in its photo, from 1
    original: bytes
    protected: bytes
    difference: bytes  # `GAIN` times as strong, on mid-grey
    fakes: list[Fake] = field(default_factory=list)

    @property
    def weakest(self) -> float:
        """The smallest d_mask; below 0 where no edit changed anything."""
        return min((fake.d_mask for fake in self.fakes if not math.isnan(fake.d_mask)), default=-1.0)

    @property
    def weight(self) -> int:
        """Bytes on a page."""
        pictures = sum(map(len, (self.original, self.protected, self.difference, *(fake.both for fake in self.fakes))))
        return pictures * 4 // 3 + MARKUP[1] + len(self.fakes) * MARKUP[0]


class Gallery(Callback):
    """Keeps thumbnails of the pictures as written, within a budget: the best protected photos lose theirs first.

    Args:
        size: how large thumbnails are; see `plan`.
        budget: bytes on the page.
    """

    size: ClassVar = 256

    def __init__(self, size: Size, *, budget: int = BUDGET) -> None:
        self._size, self._budget = size, budget
        self._shots: dict[Pair, list[Shots]] = defaultdict(list)
        self._counts: dict[Pair, int] = defaultdict(int)
        self._dropped: set[Pair] = set()
        self._batch: list[Shots | None] = []  # None: a face of which nothing is kept
        self._open: Pair | None = None  # more of its faces may come

    def crops(self, batch: Sequence[tuple[Key, Crop]]) -> None:
        self._trim()
        self._batch = [self._enter(pair, crop) if name == WRITTEN.name else None for (pair, name), crop in batch]
        self._open = batch[-1][0][0]

    def fakes(self, model: DeepfakeModel, edit: int, fakes: Float32, broken: Float32, d_mask: Float64) -> None:
        side = min(self._size.fake, model.image_size)
        for i, shots in enumerate(self._batch):
            if shots is not None:
                both = np.concatenate([_shrunk(_levels(fake[i]), side) for fake in (fakes, broken)], axis=1)
                shots.fakes.append(Fake(model.name, edit, webp(both, self._size.quality), float(d_mask[i])))

    def of(self, pair: Pair) -> list[Shots]:
        """The faces of a photo of which there are pictures, the least protected first; empty where it lost them."""
        if self._batch:  # all models have seen the last one
            self._batch, self._open = [], None
            self._trim()
        return sorted(self._shots.get(pair, ()), key=lambda shots: shots.weakest)

    def _enter(self, pair: Pair, crop: Crop) -> Shots | None:
        self._counts[pair] += 1
        if pair in self._dropped:
            return None
        original, protected = (_levels(side[self.size]) for side in (crop.original, crop.protected))
        small = [_shrunk(picture, self._size.photo) for picture in (original, protected)]
        difference = GAIN * (small[1].astype(np.int16) - small[0]) + 128
        one, other = (webp(picture, 70) for picture in small)
        shots = Shots(self._counts[pair], one, other, webp(np.clip(difference, 0, 255).astype(np.uint8), 50))
        self._shots[pair].append(shots)
        return shots

    def _trim(self) -> None:
        """Drop what is too much; called when all models have seen what there is."""
        for pair, faces in self._shots.items():
            if len(faces) > FACES:
                self._shots[pair] = sorted(faces, key=lambda shots: shots.weakest)[:FACES]
        weights = {pair: sum(shots.weight for shots in faces) for pair, faces in self._shots.items()}
        total = sum(weights.values())
        for pair in sorted(weights, key=self._weakest, reverse=True):
            if total <= self._budget:
                return
            if pair == self._open:
                continue
            total -= weights[pair]
            self._dropped.add(pair)
            del self._shots[pair]

    def _weakest(self, pair: Pair) -> float:
        return min(shots.weakest for shots in self._shots[pair])


def _levels(planes: Float32) -> UInt8:
    """[3, S, S] in [-1, 1] to [S, S, 3] in 0-255."""
    return np.ascontiguousarray(np.rint((planes.transpose(1, 2, 0) + 1) * LEVELS)).astype(np.uint8)


def _shrunk(pixels: UInt8, side: int) -> UInt8:
    """Pixels [S, S, 3] at ``side`` pixels; never enlarged."""
    if pixels.shape[0] <= side:
        return pixels
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def webp(pixels: UInt8, quality: int) -> bytes:
    """Pixels [H, W, 3] as a WebP file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=quality, method=2)
    return file.getvalue()
