"""PNG of every depth: chunks are read here, so that what stands beside the pixels, in whatever place, cannot harm them.

Pillow, which knows 8 bits a sample at most, decodes those; OpenCV decodes 16. Both get a file of nothing but pixels.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import png
from dadfi_fast.images.decode.base import Decoder, Raster
from dadfi_fast.types import Encoding, UInt8

_GREY, _RGB, _PALETTE, _GREY_ALPHA = 0, 2, 3, 4
#: Where each part of an interlaced picture begins, and its steps (PNG specification, 8.1).
_ADAM7: Final = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
#: Bytes that are unfolded at once.
_PIECE: Final = 1 << 20
_OPAQUE: Final = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


class PngDecoder(Decoder):
    """A PNG; of an animation the picture that programs show which know no animations."""

    def __init__(self, data: bytes, form: str = "PNG") -> None:
        self._data = data
        self.width, self.height, self._bits, self._kind = png.header(data)
        self._key = png.transparent_colour(data)
        self.frames = png.frames(data)
        self.metadata = png.read_metadata(data)
        grey = self._kind in (_GREY, _GREY_ALPHA)
        if self._bits == 16:
            mode = "I;16" if grey else "RGB;16"
        else:
            mode = ("L" if grey else "RGB") + ("A" if self._has_alpha() else "")
        self.encoding = Encoding("PNG", mode)

    def _has_alpha(self) -> bool:
        if self._kind in (_GREY, _RGB, _PALETTE):
            return any(each.name == b"tRNS" for each in png.chunks(self._data))
        return True

    def decode(self) -> Raster:
        """The pixels; palettes become colours, a colour that stands for transparency becomes alpha."""
        stored = png.pixels_only(self._data)
        return self._deep(stored) if self._bits == 16 else self._shallow(stored)

    @property
    def _channels(self) -> int:
        return {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2}.get(self._kind, 4)

    def _shallow(self, stored: bytes) -> Raster:
        try:
            image: Image.Image = Image.open(io.BytesIO(stored), formats=["PNG"])
            grey = self._kind in (_GREY, _GREY_ALPHA)
            if self._key is None:
                image = image.convert(self.encoding.mode)
            else:
                image.load()
                image.info.pop("transparency", None)
                image = image.convert("L" if grey else "RGB")
            pixels: UInt8 = np.array(image)
        except Exception as error:  # on damaged files Pillow and its codecs raise whatever comes
            raise PhotoError(f"the PNG is damaged: {error}") from error
        alpha = None
        if self._key is not None:
            # Pillow brings all greys of fewer bits to 255, and the key stays as it was.
            top = (1 << self._bits) - 1
            alpha = _keyed(pixels, [(key & top) * 255 // top for key in self._key])
        elif pixels.ndim == 3 and pixels.shape[2] in (2, 4):
            alpha, pixels = np.ascontiguousarray(pixels[..., -1]), pixels[..., :-1]
        pixels = np.ascontiguousarray(pixels).reshape(*pixels.shape[:2], -1)
        return Raster(pixels if pixels.shape[2] == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), alpha=alpha)  # type: ignore[arg-type]

    def _deep(self, stored: bytes) -> Raster:
        if not _is_whole(stored, self._channels * 2):
            raise PhotoError("the 16-bit PNG is damaged: pixels are missing")
        if self._key is not None:  # OpenCV has ways of its own with a key, so it sees none
            stored = _without(stored, b"tRNS")
        try:
            samples: Any = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise PhotoError(f"the 16-bit PNG is damaged: {error}") from error
        if samples is None or samples.dtype != np.uint16 or samples.shape[:2] != (self.height, self.width):
            raise PhotoError("the 16-bit PNG is damaged")
        alpha = np.ascontiguousarray(samples[..., 3]) if samples.ndim == 3 and samples.shape[2] == 4 else None
        if samples.ndim == 2:
            deep: Any = cv2.cvtColor(samples, cv2.COLOR_GRAY2RGB)
        else:
            deep = cv2.cvtColor(np.ascontiguousarray(samples[..., :3]), cv2.COLOR_BGR2RGB)
        if self._key is not None:
            alpha = _keyed(deep, self._key)
        return Raster((deep >> 8).astype(np.uint8), alpha=alpha, deep=deep)


def _is_whole(data: bytes, size: int) -> bool:
    """Whether all rows are there, ``size`` bytes a pixel; OpenCV takes seconds to find that out, and room for all."""
    expected = sum(rows * (1 + columns * size) for rows, columns in _passes(data))
    inflate, inflated = zlib.decompressobj(), 0
    try:
        for each in png.chunks(data):
            rest: bytes | memoryview = each.payload if each.name == b"IDAT" else b""
            while rest and not inflate.eof:
                inflated += len(inflate.decompress(rest, _PIECE))
                rest = inflate.unconsumed_tail
    except zlib.error:
        return False
    return inflated + len(inflate.flush()) >= expected


def _passes(data: bytes) -> Iterator[tuple[int, int]]:
    """Rows and columns of the picture, or of each of the seven parts in which an interlaced one is stored."""
    width, height, _, _ = png.header(data)
    for x, y, across, down in _ADAM7 if data[28] else ((0, 0, 1, 1),):
        rows, columns = max(0, -(-(height - y) // down)), max(0, -(-(width - x) // across))
        if rows and columns:
            yield rows, columns


def _keyed(pixels: Any, key: Any) -> Any:
    """Alpha [H, W]: nothing where all channels of ``pixels`` are those of the key, else opaque."""
    channels = pixels.reshape(*pixels.shape[:2], -1)
    same = (channels == np.array(key, dtype=channels.dtype)).all(axis=2)
    return np.where(same, 0, _OPAQUE[channels.dtype]).astype(channels.dtype)


def _without(data: bytes, name: bytes) -> bytes:
    chunks = (data[each.start : each.end] for each in png.chunks(data) if each.name != name)
    return png.SIGNATURE + b"".join(chunks)
