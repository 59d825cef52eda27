"""How visible a change is, in a unit that people know: the JPEG equivalent.

For a metric, that is the JPEG quality (4:2:0) at which the original scores as the changed picture does; over several
metrics, the lowest. One metric alone is easily fooled by a perturbation that was made against it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from PIL import Image

from dadfi_fast.metrics import perceptual
from dadfi_fast.types import UInt8

#: Original and changed picture [H, W, 3] to a score, the larger the better.
Metric: TypeAlias = Callable[[UInt8, UInt8], float]

#: The metrics that the JPEG equivalent is the lowest of, the fastest first.
METRICS: Final[Mapping[str, Metric]] = {
    "flip": lambda original, changed: -perceptual.flip(original, changed),
    "ssimulacra2": perceptual.ssimulacra2,
}
#: Metrics that experiments judge by besides. No generator is trained by them, so that they cannot be fooled.
JUDGES: Final[Mapping[str, Metric]] = {
    "butteraugli": lambda original, changed: -perceptual.butteraugli(original, changed),
    "colorvideovdp": perceptual.colorvideovdp,
}
#: The qualities that are searched; the last one stands for itself and all that is better.
WORST, BEST = 5, 98


@dataclass(frozen=True)
class FaceAppearance:
    """How visible the change of one face is."""

    jpeg_equivalent: int
    ssimulacra2: float
    flip: float


def most_visible(faces: Iterable[tuple[UInt8, UInt8]]) -> FaceAppearance | None:
    """The appearance of the face whose change is most visible; None where there is no face.

    Args:
        faces: original and changed crop of each, [H, W, 3] sRGB at the photo's own size.

    Raises:
        BackendMissing: the package of a metric is not installed.
    """
    seen = [
        FaceAppearance(jpeg_equivalent(*pair), perceptual.ssimulacra2(*pair), perceptual.flip(*pair)) for pair in faces
    ]
    return min(seen, key=lambda face: face.jpeg_equivalent, default=None)


def jpeg_equivalent(original: UInt8, changed: UInt8, *, metrics: Mapping[str, Metric] = METRICS) -> int:
    """The JPEG quality, `WORST` to `BEST`, that looks as ``changed`` does beside ``original``, both [H, W, 3] sRGB.

    Raises:
        BackendMissing: the package of a metric is not installed.
    """
    lowest = BEST
    for metric in metrics.values():
        lowest = equivalent(metric, original, changed, most=lowest)
    return lowest


def equivalent(metric: Metric, original: UInt8, changed: UInt8, *, most: int = BEST) -> int:
    """The lowest quality, up to ``most``, at which a JPEG of ``original`` scores at least as well as ``changed``."""
    return JpegScores(metric, original).equivalent(changed, most=most)


class JpegScores:
    """What JPEGs of one picture score by one metric; each quality is scored once, however often it is asked for.

    Args:
        original: [H, W, 3] sRGB.
    """

    def __init__(self, metric: Metric, original: UInt8) -> None:
        self._metric, self._original = metric, original
        self._known: dict[int, float] = {}

    def equivalent(self, changed: UInt8, *, most: int = BEST) -> int:
        """As `equivalent`."""
        score, low, high = self._metric(self._original, changed), WORST, most
        if most < BEST and self._score(most - 1) < score:
            return most
        while low < high:
            middle = (low + high) // 2
            if self._score(middle) >= score:
                high = middle
            else:
                low = middle + 1
        return low

    def _score(self, quality: int) -> float:
        if quality not in self._known:
            self._known[quality] = self._metric(self._original, as_jpeg(self._original, quality))
        return self._known[quality]


def as_jpeg(picture: UInt8, quality: int) -> UInt8:
    """``picture`` [H, W, 3] encoded as JPEG (4:2:0) and decoded again."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(data).convert("RGB"))
