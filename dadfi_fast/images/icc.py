"""ICC profiles for colours that a file signals by numbers (cICP, nclx, gAMA, cHRM) where the target has no such signal.

Source: ICC.1:2022, sections 7 to 10 (matrix and tone curve); ITU-T H.273, tables 2 and 3; Bradford adaptation, annex E.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

import numpy as np

from dadfi_fast.types import Float64

#: x and y of white, red, green and blue.
Primaries: TypeAlias = tuple[float, float, float, float, float, float, float, float]
_D65: Final = (0.3127, 0.3290)
#: H.273 colour primaries -> `Primaries`.
_NAMED: Final[dict[int, Primaries]] = {
    1: (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
SRGB: Final = _NAMED[1]
#: Curves of ICC's type 3: gamma, a, b, c, d.
_SRGB_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709_CURVE: Final = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
#: H.273 transfer characteristics -> gamma, or a curve of type 3.
_TRANSFERS: Final[dict[int, tuple[float, ...]]] = {
    1: _BT709_CURVE, 6: _BT709_CURVE, 14: _BT709_CURVE, 15: _BT709_CURVE, 4: (2.2,), 5: (2.8,), 8: (1.0,),
    13: _SRGB_CURVE,
}  # fmt: skip
#: Transfer functions of HDR: no profile of a matrix and a curve stands for these.
HDR: Final = {16: "PQ", 18: "HLG"}
#: Up to which a primary, and a gamma in proportion, are those of sRGB.
_NEAR, _NEAR_GAMMA = 0.002, 0.02
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50: Final = np.array([0.9642, 1.0, 0.8249])


def is_profile(icc: bytes | None) -> bool:
    """Whether this is a whole ICC profile: its length and its signature (ICC.1:2022, 7.2)."""
    return icc is not None and 128 <= int.from_bytes(icc[:4], "big") <= len(icc) and icc[36:40] == b"acsp"


def from_numbers(primaries: int, transfer: int, *, grey: bool = False) -> bytes | None:
    """The profile for H.273 code points; None where they mean sRGB, or nothing that is known.

    The curve of BT.709 with its own primaries is what cameras and encoders write for sRGB, and browsers show as that.
    """
    if primaries in (1, 2) and transfer in (1, 2, 6, 13, 14, 15):
        return None
    where, curve = _NAMED.get(primaries, SRGB), _TRANSFERS.get(transfer, _SRGB_CURVE)
    return profile(where, curve, f"H.273 {primaries}/{transfer}", grey=grey)


def measured(primaries: Primaries, gamma: float | None, *, grey: bool = False) -> bytes | None:
    """The profile for primaries and a gamma that a file states (sRGB's curve where it is None); None for sRGB.

    Raises:
        ValueError: a primary without luminance.
    """
    near = max(abs(a - b) for a, b in zip(primaries, SRGB, strict=True)) < _NEAR
    if near and (gamma is None or abs(gamma / 2.2 - 1) < _NEAR_GAMMA):
        return None  # sRGB, as good as it can be said in this way
    curve = _SRGB_CURVE if gamma is None else (gamma,)
    return profile(primaries, curve, "stated primaries" if gamma is None else f"gamma {gamma:.2f}", grey=grey)


def profile(primaries: Primaries, curve: tuple[float, ...], name: str, *, grey: bool = False) -> bytes:
    """An ICC profile of version 4.

    Args:
        primaries: x and y of white, red, green and blue.
        curve: a gamma, or gamma, a, b, c, d of ICC's parametric curve of type 3.
        name: its description.
        grey: for pictures of one channel.
    """
    matrix, adaptation = _adapted(primaries)
    trc = _curve(curve)
    tags = {b"desc": _text(name), b"cprt": _text("no copyright"), b"wtpt": _xyz(_D50), b"chad": _array(adaptation)}
    if grey:
        tags[b"kTRC"] = trc
    else:
        tags |= {name: _xyz(matrix[:, n]) for n, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), trc)
    return _file(tags, b"GRAY" if grey else b"RGB ")


def _adapted(primaries: Primaries) -> tuple[Float64, Float64]:
    """RGB to XYZ as seen under D50, and the matrix that adapts to that."""
    points = np.array(primaries).reshape(4, 2)
    if not (points[:, 1] > 0).all():
        raise ValueError("a primary without luminance")
    xyz = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in points])
    white, columns = xyz[0], xyz[1:].T
    matrix = columns * np.linalg.solve(columns, white)
    scale = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adaptation = np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD
    return adaptation @ matrix, adaptation


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(float(value) * 65536))


def _xyz(values: Float64) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(n) for n in values)


def _array(values: Float64) -> bytes:
    return b"sf32\0\0\0\0" + b"".join(_fixed(n) for n in values.ravel())


def _curve(values: tuple[float, ...]) -> bytes:
    kind = 0 if len(values) == 1 else 3
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(_fixed(n) for n in values)


def _text(words: str) -> bytes:
    coded = words.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(coded), 28) + coded


def _file(tags: dict[bytes, bytes], space: bytes) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    first = 128 + 4 + 12 * len(tags)
    offsets: dict[bytes, int] = {}
    for name, data in tags.items():
        if data not in offsets:
            offsets[data] = first + len(body)
            body += data + b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", name, offsets[data], len(data))
    size = first + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x04300000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(4 * 7)
    header += b"".join(_fixed(n) for n in _D50)
    return header.ljust(128, b"\0") + table + body
