"""Perturbations added to the blocks of a JPEG file, and the small pictures that the detector and the generator see.

This does what `blend` and `faces.shrink.Pyramid` do, but never computes the full-size pixels. At 1/8, a picture
consists of its DC coefficients. A perturbation is an enlarged crop and therefore smooth, so a few low frequencies hold
nearly all of it.

A coefficient of the file is a whole number of steps of the quantisation table. Rounding to the nearest would lose every
change of less than half a step: at quality 90 and 4:2:0, more than half of the perturbation of a face of 300 pixels. So
`add` rounds changes of colour up from a lower fraction where the tables are coarse (`rounded_up_from`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import cv2
import numpy as np

from dadfi_fast.faces.align import Square, feather
from dadfi_fast.faces.shrink import LINEAR, halvings
from dadfi_fast.images.blocks import LARGEST, SIDE, Blocks, Plane, dct, mixed
from dadfi_fast.images.decode import FLIPS, SIDEWAYS, upright
from dadfi_fast.protect.blend import limit, overlap
from dadfi_fast.types import Budget, Float32, Int16, UInt8

#: Halvings to the smallest picture that is made from blocks, of one pixel each; smaller ones are made from that.
_DC: Final = 3
#: Halvings to the largest that is made of a whole picture: larger ones cost more than decoding all pixels.
WHOLE: Final = 2
#: RGB to brightness, blueness and redness (JFIF 1.02).
_FROM_RGB: Final = np.array(
    ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)), np.float32
)
#: Frequencies a side of a block that may hold a perturbation: as many as give each of its values a sample.
_COUNTS: Final = (2, 4, 8)
#: Fractions of a step that changes of colour may be rounded up from, lowest first: below the lowest, noise would be
#: most of what is written. A half is rounding to the nearest.
FRACTIONS: Final = tuple(n / 40 for n in range(10, 21))
_BINS: Final = 40
#: Share of the perturbation that is kept well enough by rounding to the nearest.
_ENOUGH: Final = 0.98


@dataclass(frozen=True, eq=False)
class Change:
    """What is to be added to some blocks of a plane, before it is rounded to whole steps."""

    blocks: Int16  # [rows, columns, 64], quantised; changed in place
    table: Float32  # [64], quantisation
    steps: dict[int, Float32]  # number of a coefficient -> what is added to it, in steps of the table, [rows, columns]

    def add(self, up_from: float) -> None:
        """Add it, fractions of ``up_from`` and more rounded up, away from zero."""
        for number, steps in self.steps.items():
            if up_from < 0.5:
                steps = steps + np.copysign(np.float32(0.5 - up_from), steps)
            whole: Int16 = cv2.addWeighted(steps, 1.0, steps, 0.0, 0.0, dtype=cv2.CV_16S)  # type: ignore[assignment]
            coefficients = self.blocks[..., number]
            whole += coefficients
            coefficients[...] = np.clip(whole, -LARGEST - (number == 0), LARGEST, out=whole)


class BlockPyramid:
    """Small copies of a picture and of its parts, as `Pyramid` makes them, from its blocks.

    A pixel is the mean of those that it stands for, before these are rounded to whole levels.

    Args:
        blocks: of the file; no block may change before the last copy is made.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.blocks, self.height, self.width = blocks, blocks.height, blocks.width

    def reaches(self, width: int, height: int) -> bool:
        """Whether a copy of this size can be made; of a larger one `Pyramid` has the details."""
        return halvings(self.width, self.height, width, height) >= WHOLE

    def __call__(self, width: int, height: int) -> UInt8:
        """A copy of the whole picture, as small as `reaches` wants: [height, width, 3], every pixel counted."""
        level = min(_DC, halvings(self.width, self.height, width, height))
        covers, size = (self.width, self.height), (width, height)
        if self.blocks.orientation in SIDEWAYS:
            covers, size = covers[::-1], size[::-1]
        return upright(self._copy(level, 0, 0, covers, size), self.blocks.orientation)

    def crop(self, where: Square, size: int) -> UInt8:
        """The pixels of a square: [size, size, 3], every pixel counted; edge pixels repeated outside of the picture."""
        level = min(_DC, max(0, math.frexp(where.side / size)[1] - 1))  # at least as many samples
        stored = _stored(where, self.blocks)
        copy = self._copy(level, stored.x0, stored.y0, (stored.side, stored.side), (size, size))
        return upright(copy, self.blocks.orientation)

    def _copy(self, level: int, x0: int, y0: int, covers: tuple[int, int], size: tuple[int, int]) -> UInt8:
        """A part of the picture as it is stored, that begins at ``x0`` and ``y0``; widths and heights."""
        side = SIDE >> level
        factor = max(1, math.ceil(max(a / b for a, b in zip(covers, size, strict=True)) * side / SIDE / LINEAR))
        between = size[0] * factor, size[1] * factor
        planes = [_part(plane, side, (x0, y0), covers, between) for plane in self.blocks.planes]
        if len(planes) == 1:
            copy = cv2.cvtColor(planes[0], cv2.COLOR_GRAY2RGB)
        else:
            brightness, blueness, redness = planes
            copy = cv2.cvtColor(cv2.merge((brightness, redness, blueness)), cv2.COLOR_YCrCb2RGB)
        return copy if factor == 1 else cv2.resize(copy, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _part(plane: Plane, side: int, start: tuple[int, int], covers: tuple[int, int], size: tuple[int, int]) -> UInt8:
    """Part of a plane that begins at ``start``, from ``side`` samples a side of each block: [height, width].

    Colour that is subsampled has half the detail of brightness then, as it has in the file.
    """
    axes = zip(start, covers, (plane.across, plane.down), plane.blocks.shape[1::-1], strict=True)
    columns, rows = (_around(first, length, SIDE * step, count) for first, length, step, count in axes)
    samples = plane.samples(rows, columns, side)
    moved = np.zeros((2, 3), np.float32)
    for axis, (step, blocks) in enumerate(((plane.across, columns), (plane.down, rows))):
        share = side / (SIDE * step)  # samples to a pixel
        scale = covers[axis] * share / size[axis]
        moved[axis, axis], moved[axis, 2] = scale, start[axis] * share - blocks.start * side + scale / 2 - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(samples, moved, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.addWeighted(part, 1.0, part, 0.0, 0.0, dtype=cv2.CV_8U)  # type: ignore[return-value]


def _around(start: int, length: int, step: int, count: int) -> slice:  # type: ignore[explicit-any]  # slice's
    """Of ``count`` blocks of ``step`` pixels, those that hold ``start`` to ``start + length``, and one on each side."""
    first = min(max(0, start // step - 1), count - 1)
    return slice(first, max(first + 1, min(count, -(-(start + length) // step) + 1)))


def _stored(where: Square, blocks: Blocks) -> Square:
    """A square of the upright picture, where it lies in the picture as it is stored."""
    x0, y0, flip = where.x0, where.y0, FLIPS.get(blocks.orientation)
    if flip in (1, -1):
        x0 = blocks.width - x0 - where.side
    if flip in (0, -1):
        y0 = blocks.height - y0 - where.side
    return Square(y0, x0, where.side) if blocks.orientation in SIDEWAYS else Square(x0, y0, where.side)


def _as_stored(delta: Float32, orientation: int) -> Float32:
    """A perturbation [3, S, S] of an upright crop, as the picture is stored."""
    flip = FLIPS.get(orientation)
    if flip in (1, -1):
        delta = delta[:, :, ::-1]
    if flip in (0, -1):
        delta = delta[:, ::-1]
    return np.ascontiguousarray(delta.swapaxes(1, 2) if orientation in SIDEWAYS else delta)


def can_add(blocks: Blocks, where: Sequence[Square]) -> bool:
    """Whether perturbations can be added to blocks: each lies in the picture, and no two share a pixel."""
    inside = (square.inside(blocks.height, blocks.width)[:2] for square in where)
    empty = any(rows.start == rows.stop or columns.start == columns.stop for rows, columns in inside)
    return not empty and not any(overlap(a, b) for a, b in combinations(where, 2))


def add(blocks: Blocks, where: Sequence[Square], deltas: Float32, budget: Budget) -> int:
    """Add the perturbation of every face to the blocks of its square.

    Args:
        blocks: of the file.
        where: [B], squares that `can_add` has accepted.
        deltas: [B, 3, S, S] on the [-1, 1] scale, within ``budget``.
        budget: bounds what is added before it is quantised, as `blend` bounds it before a JPEG is encoded.

    Returns:
        the largest change in levels, before quantisation; less where pixels are black or white.
    """
    largest = 0.0
    for upright_square, delta in zip(where, deltas, strict=True):
        square = _stored(upright_square, blocks)
        faded = _as_stored(delta, blocks.orientation) * feather(delta.shape[-1])  # in levels
        if len(blocks.planes) == 1:
            parts = [faded.mean(axis=0)]
            largest = max(largest, cv2.norm(parts[0], cv2.NORM_INF))
        else:
            parts = [red * faded[0] + green * faded[1] + blue * faded[2] for red, green, blue in _FROM_RGB]
            largest = max(largest, *(cv2.norm(each, cv2.NORM_INF) for each in faded))
        brightness, *colours = (_change(plane, part, square) for plane, part in zip(blocks.planes, parts, strict=True))
        brightness.add(0.5)
        up_from = rounded_up_from(colours)
        for colour in colours:
            colour.add(up_from)
    return min(limit(budget), int(largest + 0.5))


def rounded_up_from(changes: Sequence[Change]) -> float:
    """The highest of `FRACTIONS` from which rounding up keeps the whole perturbation; the lowest if none does.

    A half if rounding to the nearest keeps nearly all of it.

    With wanted changes d and steps q, w whole steps are written. They keep sum(w q d) / sum(d^2) of the perturbation.
    Rounding up instead of down adds q |d| to that sum, and q^2 (1 - 2 f) to the squared error, f being the fraction of
    a step. So the largest fractions keep most for the error they make, over all coefficients alike.
    """
    wanted = kept = 0.0
    gains = np.zeros(_BINS)
    for change in changes:
        for number, steps in change.steps.items():
            square = float(change.table[number]) ** 2
            size = np.abs(steps)
            fraction, whole = np.modf(size)
            wanted += square * float((size * size).sum(dtype=np.float64))
            kept += square * float((size * whole).sum(dtype=np.float64))
            bins = (fraction.ravel() * _BINS).astype(np.intp)
            gains += square * np.bincount(bins, size.ravel(), _BINS)
    up = gains[::-1].cumsum()[::-1]
    if kept + up[_BINS // 2] >= _ENOUGH * wanted:
        return FRACTIONS[-1]
    return next((f for f in reversed(FRACTIONS) if kept + up[round(f * _BINS)] >= wanted), FRACTIONS[0])


def _change(plane: Plane, part: Float32, where: Square) -> Change:
    """A perturbation [S, S], in levels, as a change of the blocks of a square."""
    size, steps = len(part), (plane.down, plane.across)
    count = next(n for n in _COUNTS if n == SIDE or where.side * n >= size * SIDE * max(steps))
    rows, columns = (
        slice(max(0, start // (SIDE * step)), min(blocks, -(-(start + where.side) // (SIDE * step))))
        for start, step, blocks in zip((where.y0, where.x0), steps, plane.blocks.shape, strict=False)
    )
    blocks = plane.blocks[rows, columns]
    height, width = blocks.shape[:2]
    moved = np.zeros((2, 3), np.float32)
    for axis, (start, first, step) in enumerate(
        ((where.x0, columns.start, plane.across), (where.y0, rows.start, plane.down))
    ):
        scale = SIDE * step / count * size / where.side  # values of the perturbation to a sample
        moved[axis, axis] = scale
        moved[axis, 2] = (first * SIDE * step - start) * size / where.side + scale / 2 - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP  # nothing outside of the square
    samples: Float32 = cv2.warpAffine(part, moved, (width * count, height * count), flags=flags)  # type: ignore[assignment]
    basis = _low_frequencies(count)
    changes: dict[int, Float32] = {}
    for v, row in enumerate(mixed(basis, [samples[n::count] for n in range(count)])):
        for u, change in enumerate(mixed(basis, [row[:, n::count] for n in range(count)])):
            change /= plane.table[SIDE * v + u]
            changes[SIDE * v + u] = change
    return Change(blocks, plane.table, changes)


@functools.lru_cache(maxsize=8)
def _low_frequencies(count: int) -> Float32:
    """[count, count]: the lowest frequencies of a block, from so many of its samples.

    At the middles of ``count`` equal parts of it, cosines of the 8-point DCT equal those of the ``count``-point DCT.
    """
    low: Float32 = dct(count) * np.sqrt(np.float32(SIDE / count))
    return low
