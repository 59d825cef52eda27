"""What every decoder promises: the header at once, the pixels when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from dadfi_fast.types import Encoding, Metadata, UInt8, UInt16


@dataclass(frozen=True, eq=False)
class Raster:
    """The pixels as they are stored; all arrays may be written to."""

    pixels: UInt8  # [H, W, 3] RGB; greyscale is three equal channels
    alpha: UInt8 | UInt16 | None = None  # [H, W]
    deep: UInt16 | None = None  # [H, W, 3]; ``pixels`` are its upper bytes
    converted: bool = False  # to sRGB, so that the file's ICC profile does not fit any more
    upright: bool = False  # the codec has applied the orientation already


class Decoder(ABC):
    """One file; made from its bytes, it has read the header.

    Raises:
        PhotoError: the header is damaged, or of a kind that cannot be decoded here.
    """

    width: int  # as stored: orientation is not applied
    height: int
    encoding: Encoding
    metadata: Metadata  # as stored
    frames: int = 1  # pictures in the file, of which `decode` gives the first

    @abstractmethod
    def decode(self) -> Raster:
        """The pixels.

        Raises:
            PhotoError: they are damaged or cut off.
        """
