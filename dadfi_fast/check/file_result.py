"""What is kept of a checked file: figures, no pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dadfi_fast.check.conditions import WRITTEN
from dadfi_fast.check.distances import Distances
from dadfi_fast.check.pairs import Pair
from dadfi_fast.files import json_safe
from dadfi_fast.metrics.defence import protected


@dataclass(frozen=True, eq=False)
class FaceResult:
    """One picture under one condition."""

    faces: int
    found: bool  # False: no face was found and the middle of the picture was taken
    distances: Mapping[str, Distances]  # model -> [faces, edits]

    @property
    def protected(self) -> bool:
        """Whether every model failed at every edit of every face; False where no model was run."""
        if not self.distances:
            return False
        flat = [each.mask.reshape(1, -1) for each in self.distances.values()]
        return bool(protected(flat)[0])

    @property
    def weakest(self) -> float:
        """The smallest d_mask of any model, edit and face; NaN where every mask is empty."""
        every = [each.mask.ravel() for each in self.distances.values()]
        changed = [mask[~np.isnan(mask)] for mask in every]
        return min((float(mask.min()) for mask in changed if mask.size), default=math.nan)


@dataclass(frozen=True, eq=False)
class FileResult:
    """One checked pair."""

    pair: Pair
    linf: int  # levels, between the decoded files
    psnr: float  # dB; infinite where the files do not differ
    ssim: float
    looks: Mapping[str, FaceResult]  # condition -> what was seen

    def to_dict(self) -> dict[str, Any]:
        """The sample as JSON has it."""
        seen = self.looks[WRITTEN.name]
        return {
            "target": self.pair.name,
            "original": str(self.pair.original),
            "faces": seen.faces if seen.found else 0,
            "protected": seen.protected if seen.distances else None,
            "d_mask_min": json_safe(seen.weakest),
            "linf": self.linf,
            "psnr": json_safe(self.psnr),
            "ssim": json_safe(self.ssim),
        }
