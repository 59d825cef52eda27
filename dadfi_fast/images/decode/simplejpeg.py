"""JPEG through libjpeg-turbo (the wheel ``simplejpeg``): straight into an array, without Pillow's copy, off the GIL."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import simplejpeg

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.decode.base import Decoder, Raster
from dadfi_fast.images.jpeg import JpegHeader
from dadfi_fast.types import Encoding, UInt8

_STRAY: Final = re.compile(r"(\d+) extraneous bytes")
#: Stray bytes that are taken for padding.
_PADDING: Final = 64


class JpegDecoder(Decoder):
    """A greyscale or colour JPEG."""

    def __init__(self, data: bytes, header: JpegHeader) -> None:
        if header.precision != 8:
            raise PhotoError(
                f"a JPEG with {header.precision} bits per sample is not supported. Convert it to 8 bits or PNG."
            )
        self._data = data
        self._grey = len(header.sampling) == 1
        self.width, self.height, self.metadata = header.width, header.height, header.metadata
        self.encoding = Encoding(
            "JPEG",
            "L" if self._grey else "RGB",
            quantization=header.tables,
            subsampling=header.subsampling,
            progressive=header.progressive,
        )

    def decode(self) -> Raster:
        """The pixels; a few stray bytes before the end, as some cameras write, are no fault; many are lost pixels."""
        try:
            pixels = self._pixels(strict=True)
        except ValueError as error:
            stray = _STRAY.search(str(error))
            if stray is None or int(stray[1]) > _PADDING:
                raise PhotoError(f"the JPEG is damaged: {error}") from error
            pixels = self._pixels(strict=False)
        return Raster(np.repeat(pixels, 3, axis=2) if self._grey else pixels)

    def _pixels(self, *, strict: bool) -> UInt8:
        pixels: UInt8 = simplejpeg.decode_jpeg(
            self._data, "GRAY" if self._grey else "RGB", fastdct=False, strict=strict
        )
        return pixels
