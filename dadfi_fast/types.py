"""The data that flow: frozen, with shape, dtype and range where they are born.

Pixel values are uint8 levels (0-255); what a network sees is float32 in [-1, 1], one level being 1 / 127.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

UInt8: TypeAlias = NDArray[np.uint8]
UInt16: TypeAlias = NDArray[np.uint16]
Int16: TypeAlias = NDArray[np.int16]
Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]

#: Levels to a unit of the [-1, 1] scale.
LEVELS = 127.5


@dataclass(frozen=True)
class Budget:
    """How far a perturbation may go: ``|delta| <= eps`` everywhere (norm Linf), on the [-1, 1] scale."""

    eps: float = 0.05

    @property
    def levels(self) -> float:
        """The bound in levels of 0-255; 0.05 is 6.375."""
        return self.eps * LEVELS

    def clip(self, delta: Float32) -> Float32:
        """``delta`` (any shape, float32) with every entry brought into [-eps, eps]."""
        return np.clip(delta, -self.eps, self.eps)


@dataclass(frozen=True)
class Face:
    """A face found in a picture; the box is in that picture's pixels, right and bottom edge exclusive."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float  # in [0, 1]

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0


@dataclass(frozen=True)
class Encoding:
    """How a picture was stored, as far as writing it again needs to know."""

    format: str  # Pillow's name: JPEG, PNG, WEBP, TIFF, ...
    mode: str  # Pillow's mode of the stored pixels: RGB, L, RGBA, LA, CMYK, I;16, ...
    quantization: tuple[tuple[int, ...], ...] | None = None  # JPEG tables in zigzag-free (Pillow's) order
    subsampling: str | None = None  # JPEG: "4:4:4", "4:2:2", "4:2:0"; None where the file has no chroma
    progressive: bool = False
    lossless: bool = False  # WebP


@dataclass(frozen=True)
class Metadata:
    """What travels beside the pixels, as raw bytes; orientation is already applied and reset in ``exif``."""

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    photoshop: bytes | None = None  # image resources, which hold IPTC
    texts: tuple[tuple[str, str], ...] = ()  # keyword and text; a comment of a JPEG or GIF has the keyword Comment
    colour: tuple[tuple[bytes, bytes], ...] = ()  # PNG chunks, name and payload: cICP, gAMA, cHRM, ...
    notes: tuple[str, ...] = ()  # for people: what of the file could not be taken along


@dataclass(frozen=True, eq=False)
class Photo:
    """One decoded photo, upright."""

    source: Path  # the file it came from
    pixels: UInt8  # [H, W, 3] RGB; greyscale is three equal channels
    encoding: Encoding
    metadata: Metadata = field(default_factory=Metadata)
    alpha: UInt8 | UInt16 | None = None  # [H, W]
    deep: UInt16 | None = None  # [H, W, 3], the same pixels with 16 bits a channel where the file has them


@dataclass(frozen=True, eq=False)
class Crops:
    """Face crops of several photos, ready for the generator."""

    pixels: Float32  # [B, 3, S, S] in [-1, 1]
    owner: tuple[int, ...]  # [B], index of the photo that each crop was cut from
    faces: tuple[Face, ...]  # [B]


@dataclass(frozen=True, eq=False)
class Protected:
    """A photo with the perturbation blended in and rounded."""

    photo: Photo
    pixels: UInt8  # [H, W, 3]
    faces: tuple[Face, ...]
    linf: int  # levels, measured on ``pixels`` against ``photo.pixels``
    deep: UInt16 | None = None  # [H, W, 3] where the photo has 16 bits a channel
