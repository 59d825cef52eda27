"""BMP with alpha or an ICC profile, which need a header of version 4 or 5 that Pillow does not write; profiles read.

Source: Microsoft, BITMAPV4HEADER and BITMAPV5HEADER structures (wingdi.h).
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from dadfi_fast.images import icc
from dadfi_fast.types import UInt8

_FILE_HEADER, _HEADER, _HEADER_4 = 14, 124, 108
_BITFIELDS: Final = 3
#: Where red, green, blue and alpha are in the 32 bits of a pixel.
_MASKS: Final = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
_INCH: Final = 0.0254
_PERCEPTUAL: Final = 4
#: Colour spaces, as bytes of the file: by primaries and gamma, sRGB, a profile in the file.
_CALIBRATED, _SRGB, _EMBEDDED = b"\0\0\0\0", b"BGRs", b"DEBM"
#: XYZ has 30 bits behind the point, gamma 16.
_XYZ, _GAMMA = 1 << 30, 1 << 16


def write(pixels: UInt8, alpha: UInt8 | None, dpi: tuple[float, float] | None, profile: bytes | None) -> bytes:
    """A file of RGB ``pixels`` [H, W, 3] and ``alpha`` [H, W]; ``dpi`` is its resolution, across and down."""
    height, width = pixels.shape[:2]
    if alpha is not None:
        rows = np.dstack((pixels[::-1, :, ::-1], alpha[::-1])).tobytes()
    else:
        flat = pixels[::-1, :, ::-1].reshape(height, 3 * width)
        rows = np.pad(flat, ((0, 0), (0, -3 * width % 4))).tobytes()
    profile = profile or b""
    start = _FILE_HEADER + _HEADER
    x, y = (round(n / _INCH) for n in dpi) if dpi else (0, 0)
    bits, kind, masks = (24, 0, (0, 0, 0, 0)) if alpha is None else (32, _BITFIELDS, _MASKS)
    head = struct.pack("<2sIHHI", b"BM", start + len(rows) + len(profile), 0, 0, start)
    head += struct.pack("<IiiHHIIiiII", _HEADER, width, height, 1, bits, kind, len(rows), x, y, 0, 0)
    head += struct.pack("<4I4s", *masks, _EMBEDDED if profile else _SRGB) + bytes(36 + 12)
    head += struct.pack("<IIII", _PERCEPTUAL, _HEADER + len(rows) if profile else 0, len(profile), 0)
    return head + rows + profile


def read_profile(data: bytes) -> bytes | None:
    """The profile of a file, or one for the primaries and the gamma that it names; None where it is sRGB."""
    if len(data) < _FILE_HEADER + _HEADER_4:
        return None
    (size,) = struct.unpack_from("<I", data, _FILE_HEADER)
    space = data[_FILE_HEADER + 56 : _FILE_HEADER + 60]
    if size >= _HEADER and space == _EMBEDDED and len(data) >= _FILE_HEADER + _HEADER:
        at, length = struct.unpack_from("<II", data, _FILE_HEADER + 112)
        return data[_FILE_HEADER + at : _FILE_HEADER + at + length] or None
    return _calibrated(data) if size >= _HEADER_4 and space == _CALIBRATED else None


def _calibrated(data: bytes) -> bytes | None:
    numbers = struct.unpack_from("<12I", data, _FILE_HEADER + 60)
    ends = np.array(numbers[:9], float).reshape(3, 3) / _XYZ
    gamma = numbers[10] / _GAMMA
    points = np.vstack((ends.sum(axis=0), ends))
    if not gamma or (points.sum(axis=1) <= 0).any() or (ends[:, 1] <= 0).any():
        return None  # a header that was never filled in
    x, y, *others = (points[:, :2] / points.sum(axis=1, keepdims=True)).ravel().tolist()
    return icc.measured((x, y, *others), gamma if gamma > 1 else 1 / gamma)
