"""Success as CMUA-Watermark's evaluation counts it (Huang et al., AAAI 2022), for comparison with its table only.

By its release (``evaluate.py``): nothing is written. The picture is cut square in the middle and brought to 256 px, the
perturbation is added to it in floating point, neither rounded nor clamped, and goes straight into the model. A fake
counts as broken where the mean squared difference is above 0.05 where the clean edit changed the three channels by more
than 0.5 in sum. The formula sums over a batch and takes the mask of its first picture, but its batches are of one
picture, so that it is `dadfi_fast.metrics.defence.mask_distance`; an empty mask is no success there either.

Not as there: the pictures and models, the edits, which start from the labels that the classifier sees, and that all
pictures count, not the first 20. AttGAN's reconstruction, an edit that asks for nothing, is counted there.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.evaluate.edit_accuracy import Bool, scaled
from dadfi_fast.evaluate.protocol import Protocol
from dadfi_fast.faces.resample import resize
from dadfi_fast.metrics.defence import edit_mask, mask_distance, success
from dadfi_fast.training.data import load_faces

#: Pixels a side, and pictures that are worked on at once.
SIZE: Final = 256
BATCH: Final = 16


def success_unwritten(attack: Attack, protocol: Protocol) -> dict[str, float]:
    """The share of broken fakes of each model of ``protocol``, by its name, on the pictures of ``protocol``."""
    pixels = load_faces([protocol.originals.folder], image_size=SIZE).pixels
    broken: dict[str, list[Bool]] = defaultdict(list)
    for start in range(0, len(pixels), BATCH):
        x = scaled(pixels[start : start + BATCH])
        x_adv = x + attack(x)
        for model in protocol.models:
            before, after = (resize(side, model.image_size) for side in (x, x_adv))
            for edit in model.edits(protocol.labels(x, model.attributes)):
                y = model.fake(before, edit)
                distance = mask_distance(y, model.fake(after, edit), edit_mask(before, y))
                broken[model.name].append(success(distance))
    return {name: float(np.concatenate(successes).mean()) for name, successes in broken.items()}
