"""How much of a change people see: FLIP and SSIMULACRA2, by their packages.

FLIP (Andersson et al., "FLIP: A Difference Evaluator for Alternating Images", HPG 2020) models the eye's contrast
sensitivity, colour differences and edges. SSIMULACRA2 (Sneyers, 2023) compares structure at six scales, fitted to human
ratings of compressed pictures. Neither has weights that would have to be fetched
(docs/decisions/0014-perceptual-distance.md).
"""

from __future__ import annotations

import importlib.util
import io
from typing import Final

import numpy as np
from PIL import Image

from dadfi_fast.errors import BackendMissing
from dadfi_fast.types import UInt8

#: The packages of `flip` and `ssimulacra2`: module, and name for pip.
PACKAGES: Final = {"flip_evaluator": "flip-evaluator", "ssimulacra2": "ssimulacra2"}
#: Pixels to a degree of the eye: a display of 3840 pixels and 0.7 m, seen from 0.7 m; the authors' own setting.
PIXELS_A_DEGREE: Final = 67.0


def need(*modules: str) -> None:
    """Make sure that the metrics can run.

    Args:
        modules: of `PACKAGES`; all of them where none is named.

    Raises:
        BackendMissing: a package is not installed.
    """
    missing = [PACKAGES[module] for module in modules or PACKAGES if importlib.util.find_spec(module) is None]
    if missing:
        raise BackendMissing(
            f"measuring visibility needs {' and '.join(missing)}. Run: pip install {' '.join(missing)}"
        )


def flip(one: UInt8, other: UInt8) -> float:
    """The mean FLIP difference of two sRGB pictures [H, W, 3], 0 to 1; 0 where nothing differs.

    Raises:
        BackendMissing: the package is not installed.
    """
    assert one.shape == other.shape and one.ndim == 3, (one.shape, other.shape)
    need("flip_evaluator")
    import flip_evaluator

    pictures = (np.ascontiguousarray(picture, dtype=np.float32) / 255 for picture in (one, other))
    _, mean, _ = flip_evaluator.evaluate(*pictures, "LDR", applyMagma=False, parameters={"ppd": PIXELS_A_DEGREE})
    return float(mean)


def ssimulacra2(original: UInt8, changed: UInt8) -> float:
    """SSIMULACRA2's score of two sRGB pictures [H, W, 3]: 100 equal, 90 hardly visible, 70 high quality, below 0 bad.

    Raises:
        BackendMissing: the package is not installed.
    """
    assert original.shape == changed.shape and original.ndim == 3, (original.shape, changed.shape)
    need("ssimulacra2")
    from ssimulacra2 import compute_ssimulacra2

    return float(compute_ssimulacra2(*(_as_file(picture) for picture in (original, changed))))


def _as_file(picture: UInt8) -> io.BytesIO:
    """``picture`` as a file without loss: the package takes files only."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "BMP")
    data.seek(0)
    return data
