"""What else is tried: the protected picture is compressed, shrunk or blurred on its way, or cropped otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np

from dadfi_fast.errors import UsageError
from dadfi_fast.registry import Registry
from dadfi_fast.types import LEVELS, UInt8

#: Original and protected picture, both [H, W, 3], to the two that are compared.
Treatment: TypeAlias = Callable[[UInt8, UInt8], tuple[UInt8, UInt8]]


def untreated(original: UInt8, protected: UInt8) -> tuple[UInt8, UInt8]:
    """Both pictures as they are."""
    return original, protected


@dataclass(frozen=True)
class Condition:
    """What is done to the pictures, and how the adversary crops them; its row has its name, such as ``jpeg:90``."""

    name: str
    treat: Treatment = untreated
    margin: float = 1.0  # side of the adversary's crops as a multiple of the usual one

    @property
    def adversary(self) -> str:
        """``A1``: a face detector of their own on the protected file; ``A2``: another margin around the faces too."""
        return "A1" if self.margin == 1 else "A2"


#: The picture as it lies on disk.
WRITTEN: Final = Condition("written")


def parse(text: str) -> Condition:
    """The condition that ``KIND:VALUE`` names; the kinds are those of `KINDS`.

    Raises:
        UsageError: the kind is unknown or the value is not one that it takes.
    """
    kind, _, value = text.partition(":")
    make = KINDS[kind]
    try:
        return make(text, float(value))
    except ValueError as error:
        raise UsageError(f"invalid condition {text!r}: {error}") from error


def parse_all(texts: Iterable[str]) -> list[Condition]:
    """The conditions that several texts name; a value alone is of the kind of the text before it.

    Raises:
        UsageError: as `parse` does.
    """
    conditions: list[Condition] = []
    kind = ""
    for text in texts:
        conditions.append(parse(text if ":" in text or not kind else f"{kind}:{text}"))
        kind = conditions[-1].name.partition(":")[0]
    return conditions


#: Kind -> the condition of a name and a value; raises ValueError where the value will not do.
KINDS: Registry[Callable[[str, float], Condition]] = Registry("condition")


@KINDS.add("jpeg")
def jpeg(name: str, quality: float) -> Condition:
    """The protected picture after JPEG of this quality (1-100) with 4:2:0 chroma, as networks send it on."""
    if quality not in range(1, 101):
        raise ValueError("the jpeg quality must be an integer from 1 to 100")

    def treat(original: UInt8, protected: UInt8) -> tuple[UInt8, UInt8]:
        import simplejpeg

        pixels = np.ascontiguousarray(protected)
        data = simplejpeg.encode_jpeg(pixels, quality=int(quality), colorsubsampling="420", fastdct=False)
        return original, simplejpeg.decode_jpeg(data, fastdct=False, fastupsample=False)

    return Condition(name, treat)


@KINDS.add("resize")
def resize(name: str, factor: float) -> Condition:
    """Both pictures resized by this factor (0.05-4): the distance is that of the protection, not that of the resize."""
    if not 0.05 <= factor <= 4:
        raise ValueError("the resize factor must be a number from 0.05 to 4")
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR

    def treat(original: UInt8, protected: UInt8) -> tuple[UInt8, UInt8]:
        height, width = (max(1, round(factor * side)) for side in protected.shape[:2])
        one, other = (cv2.resize(picture, (width, height), interpolation=way) for picture in (original, protected))
        return one, other  # type: ignore[return-value]

    return Condition(name, treat)


@KINDS.add("blur")
def blur(name: str, width: float) -> Condition:
    """The protected picture after a Gaussian blur with a window of this width in pixels (odd, 3-31)."""
    if width not in range(3, 32, 2):
        raise ValueError("the blur window must be an odd number from 3 to 31")

    def treat(original: UInt8, protected: UInt8) -> tuple[UInt8, UInt8]:
        return original, cv2.GaussianBlur(protected, (int(width), int(width)), 0)  # type: ignore[return-value]

    return Condition(name, treat)


@KINDS.add("noise")
def noise(name: str, strength: float) -> Condition:
    """The control: the original with uniform noise of this strength (0.01-0.2, on the [-1, 1] scale), unprotected."""
    if not 0.01 <= strength <= 0.2:
        raise ValueError("the noise strength must be a number from 0.01 to 0.2")
    levels = int(strength * LEVELS)

    def treat(original: UInt8, protected: UInt8) -> tuple[UInt8, UInt8]:
        moved = original + np.random.default_rng(0).integers(-levels, levels + 1, original.shape, dtype=np.int16)
        return original, np.clip(moved, 0, 255).astype(np.uint8)

    return Condition(name, treat)


@KINDS.add("margin")
def margin(name: str, factor: float) -> Condition:
    """Both pictures as they are, and the adversary A2: crops this many times as wide as usual (0.5-2, not 1)."""
    if not 0.5 <= factor <= 2 or factor == 1:
        raise ValueError("the margin factor must be a number from 0.5 to 2 other than 1")
    return Condition(name, margin=factor)
