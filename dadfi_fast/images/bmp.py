"""BMP with alpha, which needs a header of version 4 or 5 that Pillow does not write.

Source: Microsoft, BITMAPV5HEADER structure (wingdi.h).
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from dadfi_fast.types import UInt8

_FILE_HEADER, _HEADER = 14, 124
_BITFIELDS: Final = 3
#: Where red, green, blue and alpha are in the 32 bits of a pixel.
_MASKS: Final = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
_INCH: Final = 0.0254
_PERCEPTUAL: Final = 4


def with_alpha(pixels: UInt8, alpha: UInt8, dpi: tuple[float, float] | None) -> bytes:
    """A file of RGB ``pixels`` [H, W, 3] and ``alpha`` [H, W]; ``dpi`` is its resolution, across and down."""
    height, width = alpha.shape
    rows = np.dstack((pixels[::-1, :, ::-1], alpha[::-1])).tobytes()
    start = _FILE_HEADER + _HEADER
    x, y = (round(n / _INCH) for n in dpi) if dpi else (0, 0)
    head = struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start)
    head += struct.pack("<IiiHHIIiiII", _HEADER, width, height, 1, 32, _BITFIELDS, len(rows), x, y, 0, 0)
    head += struct.pack("<4I4s", *_MASKS, b"BGRs") + bytes(36 + 12) + struct.pack("<IIII", _PERCEPTUAL, 0, 0, 0)
    return head + rows
