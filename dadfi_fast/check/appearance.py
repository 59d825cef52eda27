"""What people see of the protection: face crops at the photo's own size, by perceptual metrics.

The unit is the JPEG equivalent (`dadfi_fast.metrics.visibility`). The metrics are packages of the extra ``evaluate``
and take seconds a face, so a few photos of the sample are measured.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.preprocess import Find, read
from dadfi_fast.faces.align import changed_crops, square
from dadfi_fast.metrics import perceptual
from dadfi_fast.metrics.visibility import FaceAppearance, most_visible

#: Why there are no figures.
NOT_ASKED: Final = "not asked for; check --visibility N measures it on N photos"
UNCHANGED: Final = "no photo of those that were looked at has a face that was changed"


@dataclass(frozen=True)
class Appearance:
    """The most visible face of each photo that was looked at, or why there is none."""

    photos: Mapping[Pair, FaceAppearance] = field(default_factory=dict)
    reason: str | None = NOT_ASKED

    def to_dict(self) -> dict[str, Any]:
        """Medians and the worst photo, as JSON has them; None where nothing was measured."""
        return {
            "jpeg_equivalent": self._of("jpeg_equivalent", statistics.median),
            "jpeg_equivalent_worst": self._of("jpeg_equivalent", min),
            "ssimulacra2": self._of("ssimulacra2", statistics.median),
            "flip": self._of("flip", statistics.median),
            "n_visibility": len(self.photos),
            "visibility_reason": self.reason,
        }

    def sentence(self) -> str:
        """The figures in words; empty where nothing was measured and nobody asked."""
        if self.photos:
            row = self.to_dict()
            return (
                f"the change looks like JPEG of quality {row['jpeg_equivalent']:g}, by the lower of SSIMULACRA2 and "
                f"FLIP (median of {len(self.photos)} photos, the worst {row['jpeg_equivalent_worst']}; SSIMULACRA2 "
                f"{row['ssimulacra2']:.1f}, FLIP {row['flip']:.3f})"
            )
        return "" if self.reason == NOT_ASKED else f"visibility was not measured: {self.reason}"

    def _of(self, name: str, pick: Callable[[Sequence[float]], float]) -> float | None:
        return pick([getattr(face, name) for face in self.photos.values()]) if self.photos else None


def look(pairs: Sequence[Pair], find: Find, *, count: int, tick: Callable[[], object] = lambda: None) -> Appearance:
    """Measure the first ``count`` of ``pairs`` that have a face and differ.

    Args:
        pairs: photos that can be read, and are of one size each.
        find: finds the faces in the originals.
        tick: called after every photo that was measured.
    """
    if not count:
        return Appearance()
    missing = [name for module, name in perceptual.PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        lacking = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        return Appearance(reason=f"{lacking}; run: pip install 'dadfi-fast[evaluate]'")
    photos: dict[Pair, FaceAppearance] = {}
    for pair in pairs:
        if len(photos) == count:
            break
        original, protected = read(pair.original), read(pair.protected)
        seen = most_visible(changed_crops(original, protected, map(square, find(original))))
        if seen is not None:
            photos[pair] = seen
            tick()
    return Appearance(photos, None) if photos else Appearance(reason=UNCHANGED)
