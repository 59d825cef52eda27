"""What people can see of a protection: distances of the written files from their originals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from dadfi_fast.check.conditions import Condition
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.preprocess import read
from dadfi_fast.check.result import CheckResult
from dadfi_fast.metrics import quality
from dadfi_fast.metrics.perceptual import flip
from dadfi_fast.types import UInt8

#: The keys of `visibility`, with heads for tables.
SEEN: Final = {"psnr": "PSNR (dB)", "ssim": "SSIM", "flip": "FLIP", "linf": "Linf"}
#: What they are.
SEEN_TEXT: Final = """\
- PSNR, SSIM (11 x 11 Gaussian window), FLIP (Andersson et al. 2020, 0 to 1, by its authors' package): means over the
  files, each against its decoded original; Linf: the largest difference in any file, in levels of 255, the codec's own
  error included.
"""


def visibility(result: CheckResult, pairs: Sequence[Pair]) -> dict[str, float]:
    """How far the files ``pairs``, of which ``result`` tells, are from their originals; see `SEEN_TEXT`.

    Raises:
        BackendMissing: FLIP is not installed.
    """
    return {
        "psnr": _mean(sample.psnr for sample in result.samples),
        "ssim": _mean(sample.ssim for sample in result.samples),
        "flip": _mean(flip(read(pair.original), read(pair.protected)) for pair in pairs),
        "linf": max(sample.linf for sample in result.samples),
    }


def visibility_after(condition: Condition, pairs: Sequence[Pair]) -> dict[str, float]:
    """The same of what ``condition`` makes of the files, such as noise in place of protection.

    Raises:
        BackendMissing: FLIP is not installed.
    """
    compared = [_compared(*condition.treat(read(pair.original), read(pair.protected))) for pair in pairs]
    means = {key: _mean(each[key] for each in compared) for key in ("psnr", "ssim", "flip")}
    return means | {"linf": max(each["linf"] for each in compared)}


def _compared(one: UInt8, other: UInt8) -> dict[str, float]:
    return {
        "psnr": quality.psnr(one, other),
        "ssim": quality.ssim(one, other),
        "flip": flip(one, other),
        "linf": quality.linf(one, other),
    }


def _mean(values: Iterable[float]) -> float:
    """The mean of those that exist: files that do not differ have no PSNR, tiny ones no SSIM."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
