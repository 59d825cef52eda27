"""Perturbations added to the blocks of a JPEG file, and the small pictures that detector and generator look at.

This is `blend` and `faces.shrink.Pyramid` without the pixels between them. A picture at 1/8 is the DC coefficients; a
perturbation is as smooth as the enlarged crop that it is, so that its low frequencies hold all of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Final, TypeAlias

import cv2
import numpy as np

from dadfi_fast.faces.align import Square, feather
from dadfi_fast.faces.shrink import LINEAR
from dadfi_fast.images.blocks import LARGEST, SIDE, Blocks, Plane, dct
from dadfi_fast.protect.blend import limit, overlap
from dadfi_fast.types import Budget, Float32, Int16, UInt8

#: Halvings to the smallest picture that is made from blocks, of one pixel each; smaller ones are made from that.
_DC: Final = 3
#: Halvings to the largest that is made of a whole picture.
_WHOLE: Final = 2
#: RGB to brightness, blueness and redness (JFIF 1.02).
_FROM_RGB: Final = np.array(
    ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)), np.float32
)
#: Frequencies a side of a block that may hold a perturbation, and how many of them it takes to a value of it.
_COUNTS: Final = (2, 4, 8)
_SMOOTH: Final = 1.0
#: Along one axis, the blocks of a square, and what each value of a perturbation adds to their frequencies.
_Bases: TypeAlias = tuple[tuple[slice, Float32], tuple[slice, Float32]]


class BlockPyramid:
    """Small copies of a picture and of its parts, as `Pyramid` makes them, from its blocks.

    A pixel is the mean of those that it stands for, before these are rounded to whole levels.

    Args:
        blocks: of the file; no block may change before the last copy is made.
        height: of the picture in pixels.
        width: of the picture in pixels.
    """

    def __init__(self, blocks: Blocks, height: int, width: int) -> None:
        self.blocks, self.height, self.width = blocks, height, width

    def reaches(self, width: int, height: int) -> bool:
        """Whether a copy of this size is best made from blocks: it has a quarter of the picture's side, or less."""
        return min(self.width / width, self.height / height) >= 1 << _WHOLE

    def __call__(self, width: int, height: int) -> UInt8:
        """A copy of the whole picture, smaller than that: [height, width, 3], every pixel counted."""
        return self._copy(0, 0, (self.width, self.height), (width, height))

    def crop(self, where: Square, size: int) -> UInt8:
        """The pixels of a square: [size, size, 3], every pixel counted; edge pixels repeated outside of the picture."""
        return self._copy(where.x0, where.y0, (where.side, where.side), (size, size))

    def _copy(self, x0: int, y0: int, covers: tuple[int, int], size: tuple[int, int]) -> UInt8:
        """A part of the picture that begins at ``x0`` and ``y0``; widths and heights."""
        ratio = min(a / b for a, b in zip(covers, size, strict=True))
        level = min(_DC, max(0, math.frexp(ratio)[1] - 1))
        shrunk = [length / (1 << level) / to for length, to in zip(covers, size, strict=True)]
        factor = max(1, math.ceil(max(shrunk) / LINEAR))
        part, top, left = self._part(level, x0, y0, covers)
        across, down = (each / factor for each in shrunk)
        x, y = (start / (1 << level) - skipped for start, skipped in ((x0, left), (y0, top)))
        moved = np.array(((across, 0, x + across / 2 - 0.5), (0, down, y + down / 2 - 0.5)), np.float32)
        between = size[0] * factor, size[1] * factor
        flags, edge = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
        copy = cv2.warpAffine(part, moved, between, flags=flags, borderMode=edge)
        return copy if factor == 1 else cv2.resize(copy, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]

    def _part(self, level: int, x0: int, y0: int, covers: tuple[int, int]) -> tuple[UInt8, int, int]:
        """The blocks of a part of the picture, halved ``level`` times: [rows, columns, 3], and where they begin there."""
        step = SIDE * max(plane.down for plane in self.blocks.planes), SIDE * max(p.across for p in self.blocks.planes)
        rows = _whole_blocks(y0, covers[1], step[0], self.height, 1 << level)
        columns = _whole_blocks(x0, covers[0], step[1], self.width, 1 << level)
        planes = [_pixels(plane, SIDE >> level, rows, columns) for plane in self.blocks.planes]
        if len(planes) == 1:
            pixels = cv2.cvtColor(planes[0], cv2.COLOR_GRAY2RGB)
        else:
            brightness, blueness, redness = planes
            pixels = cv2.cvtColor(cv2.merge((brightness, redness, blueness)), cv2.COLOR_YCrCb2RGB)
        return pixels, rows.start, columns.start  # type: ignore[return-value]


def _whole_blocks(start: int, length: int, step: int, limit: int, shrink: int) -> slice:
    """The pixels of a picture, shrunk, in the blocks that hold ``start`` to ``start + length``, and one around them."""
    first = max(0, min(start, limit - 1) // step - 1) * step
    end = min(limit, (-(-max(start + length, 1) // step) + 1) * step)
    return slice(first // shrink, -(-end // shrink))


def _pixels(plane: Plane, side: int, rows: slice, columns: slice) -> UInt8:
    """Part of a plane [rows, columns] in a picture that has ``side`` times ``side`` pixels to a block of brightness."""
    down, across = side * plane.down, side * plane.across
    down, across = (1, 1) if side == 1 else (min(SIDE, down), min(SIDE, across))
    # Samples to a pixel are 1, or less where colour is subsampled more than the picture is shrunk.
    per_row, per_column = side * plane.down // down, side * plane.across // across
    block_rows = slice(rows.start // (down * per_row), -(-rows.stop // (down * per_row)))
    block_columns = slice(columns.start // (across * per_column), -(-columns.stop // (across * per_column)))
    samples = plane.samples(block_rows, block_columns, down=down, across=across)
    if (per_row, per_column) != (1, 1):
        size = samples.shape[1] * per_column, samples.shape[0] * per_row
        samples = cv2.resize(samples, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    top, left = block_rows.start * down * per_row, block_columns.start * across * per_column
    wanted = samples[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return cv2.addWeighted(wanted, 1.0, wanted, 0.0, 0.0, dtype=cv2.CV_8U)  # type: ignore[return-value]


def can_add(where: Sequence[Square], height: int, width: int) -> bool:
    """Whether perturbations can be added to blocks: each lies in the picture, and no two share a pixel."""
    inside = (square.inside(height, width)[:2] for square in where)
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
    for square, delta in zip(where, deltas, strict=True):
        faded = delta * feather(delta.shape[-1])  # in levels
        if len(blocks.planes) == 1:
            faded = faded.mean(axis=0, keepdims=True)
        largest = max(largest, cv2.norm(faded.ravel(), cv2.NORM_INF))
        parts = faded if len(faded) == 1 else (_FROM_RGB @ faded.reshape(3, -1)).reshape(faded.shape)
        bases: dict[tuple[int, int], _Bases] = {}  # blueness and redness share theirs
        for plane, part in zip(blocks.planes, parts, strict=True):
            steps = plane.down, plane.across
            if steps not in bases:
                bases[steps] = _bases(plane, square, part.shape[-1])
            _add(plane, part, *bases[steps])
    return min(limit(budget), int(largest + 0.5))


def _bases(plane: Plane, where: Square, size: int) -> _Bases:
    """Of the vertical and the horizontal axis."""
    height, width = plane.blocks.shape[:2]
    vertical = _frequencies(where.y0, where.side, size, plane.down, height)
    return vertical, _frequencies(where.x0, where.side, size, plane.across, width)


def _frequencies(start: int, side: int, size: int, step: int, blocks: int) -> tuple[slice, Float32]:
    """Along one axis: the blocks that a square touches, and what each value adds to each of their frequencies.

    Args:
        start: of the square, in pixels.
        side: of the square, in pixels.
        size: values of the perturbation, spread over the square.
        step: pixels to a sample.
        blocks: in the plane.

    Returns:
        the blocks, and [blocks * frequencies, size]; only low frequencies where the perturbation has no others.
    """
    length = SIDE * step
    count = next(n for n in _COUNTS if n == SIDE or side * n >= _SMOOTH * size * length)
    first, end = max(0, start // length), min(blocks, -(-(start + side) // length))
    pixels = np.arange(max(first * length, start), min(end * length, start + side))
    at = ((pixels + 0.5 - start) * (size / side) - 0.5).clip(0, size - 1).astype(np.float32)
    low = at.astype(np.intp).clip(0, size - 2)
    share = at - low
    weights = np.zeros(((end - first) * length, size), np.float32)
    index = pixels - first * length
    weights[index, low], weights[index, low + 1] = 1 - share, share
    basis = np.repeat(dct()[:count] / step, step, axis=1)
    return slice(first, end), (basis @ weights.reshape(end - first, length, size)).reshape(-1, size)


def _add(plane: Plane, part: Float32, vertical: tuple[slice, Float32], horizontal: tuple[slice, Float32]) -> None:
    """Add a perturbation [S, S], in levels, to the blocks of a square."""
    (rows, down), (columns, across) = vertical, horizontal
    blocks = plane.blocks[rows, columns]
    height, width = blocks.shape[:2]
    tall, wide = len(down) // height, len(across) // width
    inverse = 1 / plane.table.reshape(SIDE, SIDE)[:tall, :wide]
    changes = cv2.gemm(cv2.gemm(down, part, 1.0, None, 0.0), across, 1.0, None, 0.0, flags=cv2.GEMM_2_T)
    quantised = changes.reshape(height, tall, width, wide)
    quantised *= inverse[None, :, None, :]
    whole: Int16 = np.rint(quantised, out=quantised).astype(np.int16)
    by_frequency = blocks.reshape(height, width, SIDE, SIDE)
    for frequency in range(tall):
        row = by_frequency[:, :, frequency, :wide]
        row += whole[:, frequency]
    # White and black; others are that large in no picture, and the library refuses them.
    np.clip(blocks[..., 0], -LARGEST, LARGEST, out=blocks[..., 0])
