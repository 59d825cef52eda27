"""FLIP: how much of a change people see who flip between two pictures.

Andersson et al., "FLIP: A Difference Evaluator for Alternating Images", HPG 2020, by its authors' package. It models
the eye's contrast sensitivity, colour differences and edges, and has no weights that would have to be fetched
(docs/decisions/0014-perceptual-distance.md).
"""

from __future__ import annotations

import importlib.util
from typing import Final

import numpy as np

from dadfi_fast.errors import BackendMissing
from dadfi_fast.types import UInt8

PACKAGE: Final = "flip_evaluator"
#: Pixels to a degree of the eye: a display of 3840 pixels and 0.7 m, seen from 0.7 m; the authors' own setting.
PIXELS_A_DEGREE: Final = 67.0


def need_flip() -> None:
    """Make sure that `flip` can run.

    Raises:
        BackendMissing: the package is not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise BackendMissing("the perceptual distance needs a package; run: pip install flip-evaluator")


def flip(one: UInt8, other: UInt8) -> float:
    """The mean FLIP difference of two sRGB pictures [H, W, 3], 0 to 1; 0 where nothing differs.

    Raises:
        BackendMissing: the package is not installed.
    """
    assert one.shape == other.shape and one.ndim == 3, (one.shape, other.shape)
    need_flip()
    import flip_evaluator

    pictures = (np.ascontiguousarray(picture, dtype=np.float32) / 255 for picture in (one, other))
    _, mean, _ = flip_evaluator.evaluate(*pictures, "LDR", applyMagma=False, parameters={"ppd": PIXELS_A_DEGREE})
    return float(mean)
