"""A small copy of a large picture, quickly: what detectors and the generator look at.

OpenCV's area filter is fast for whole factors only, and fastest for two (1350 to 160 pixels, one core: 3.2 ms by the
area filter alone, 0.5 ms this way). So a picture is halved by it first; what is left is done by a linear resize, and
by the area filter at last. The linear one shrinks by about two at the most, where its four neighbours leave out next to
no pixel.
"""

from __future__ import annotations

import math

import cv2

from dadfi_fast.types import UInt8

#: How much the linear resize may shrink by.
LINEAR = 2.2


def shrink(pixels: UInt8, width: int, height: int) -> UInt8:
    """``pixels`` [H, W, 3] as [height, width, 3], every pixel counted; larger is allowed and interpolates."""
    return Pyramid(pixels)(width, height)


class Pyramid:
    """A picture, its half, the half of that and so on, each made when it is first needed.

    To read a whole photo from memory is what halving it takes, so that is done once, for the detector and for crops.

    Args:
        pixels: [H, W, 3]; must not change.
    """

    def __init__(self, pixels: UInt8) -> None:
        self.pixels = pixels
        self._levels = [pixels]

    def __call__(self, width: int, height: int) -> UInt8:
        """A copy [height, width, 3], every pixel counted; larger is allowed and interpolates."""
        level = halvings(self.pixels.shape[1], self.pixels.shape[0], width, height)
        return _resized(self.level(level), width, height)

    def level(self, number: int) -> UInt8:
        """The picture, halved ``number`` times: [H >> number, W >> number, 3], both at least 1."""
        while len(self._levels) <= number:
            self._levels.append(_half(self._levels[-1]))
        return self._levels[number]


def halvings(width: int, height: int, to_width: int, to_height: int) -> int:
    """How often a picture is halved before the linear resize; as the side that shrinks least allows."""
    ratio, times = min(width / to_width, height / to_height), 0
    while ratio > 2 * LINEAR:
        ratio, times = ratio / 2, times + 1
    return times


def _half(pixels: UInt8) -> UInt8:
    """The last row and column of an odd number are left out."""
    height, width = (length // 2 for length in pixels.shape[:2])
    return cv2.resize(pixels[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _resized(pixels: UInt8, width: int, height: int) -> UInt8:
    factor = max(1, math.ceil(max(pixels.shape[1] / width, pixels.shape[0] / height) / LINEAR))
    between = width * factor, height * factor
    if between != (pixels.shape[1], pixels.shape[0]):
        pixels = cv2.resize(pixels, between, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if factor == 1:
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
