"""``--strength auto``: for each face the weakest of a few strengths that still breaks its fakes.

The generator runs once, and its perturbation is scaled. What is judged is what an adversary will have: the face's part
of the photo with the perturbation blended in, stored and read again as the photo's file will be, cut out and resized as
`check` does, and sent through the deepfake models. Only the adversary's own detection is left out: the boxes are those
that were found in the original. So are the perturbations of faces so near that their squares overlap.

A model makes all its fakes of a face twice: of the original, and at the strongest scale. That says which pairs of a
face and an edit are the hardest, and which scale is likely. Other scales are tried from there on, the hardest pairs
first, until too many of them are whole.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np

from dadfi_fast.backends.generator_file import GeneratorFile, generator_card
from dadfi_fast.deepfakes.edits import OWN
from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
from dadfi_fast.deepfakes.registry import deepfake_cards, load_attributes
from dadfi_fast.errors import UsageError
from dadfi_fast.faces.adversary import adversary_square, to_models
from dadfi_fast.faces.align import Square, cut
from dadfi_fast.metrics.defence import SUCCESS, edit_mask, mask_distance, success
from dadfi_fast.model_card import Card
from dadfi_fast.protect.blend import blend
from dadfi_fast.protect.config import DEFAULT_STRENGTH, SCALES
from dadfi_fast.types import Budget, Face, Float32, Float64, Metadata, Photo, Protected, UInt8

#: d_mask of a model's fakes of one face at a strength, for the edits that are named (None: all), [E]. NaN: no mask.
Trial: TypeAlias = Callable[[float, int | None], Float64]

#: Share of a face's pairs, over all models that count, that a strength has to break.
SHARE: Final = 0.9
#: A model counts for a face where the strongest scale breaks this share of its pairs: one that is out of the
#: generator's reach would get every face the strongest.
COUNTS: Final = 0.5
#: d_mask grows about as this power of the strength (0.099, 0.127, 0.166 at 0.035, 0.04, 0.05 on London): where to look.
GROWTH: Final = 1.5
#: How the remark begins on photos with a face for which no strength is enough.
UNBROKEN: Final = f"no strength up to {SCALES[-1]:g} breaks enough fakes"
#: Pixels of a grid that the blocks of JPEG fit into, whatever the subsampling.
_GRID: Final = 32


def judge_cards(
    generator: GeneratorFile, *, option: str = "--strength auto", otherwise: str = "Pass a number"
) -> tuple[Card, ...]:
    """The cards of the deepfake models to choose by: those that the generator was trained against, and added ones.

    Args:
        generator: of the run.
        option: what needs them, for the message, and what can be done ``otherwise``.

    Raises:
        UsageError: none of them is installed.
    """
    targets = {target["name"] for target in generator_card(str(generator.onnx)).extra.get("targets", ())}
    table = deepfake_cards()
    cards = tuple(table[name] for name in table if name in targets or table[name].source == "added")
    if not cards:
        raise UsageError(
            f"{option} needs a deepfake model that {generator.name} was trained against, and none is installed."
            f" {otherwise}, or add a model (dadfi-fast models add)."
        )
    return cards


def weakest(trials: Sequence[Trial]) -> float | None:
    """The weakest of `SCALES` that breaks enough pairs, if what breaks at one breaks at all above; None if none does.

    Args:
        trials: one a model; asked for the strongest scale first, and then only if the model counts.
    """
    pairs: list[tuple[float, Trial, int]] = []
    for trial in trials:
        distances = trial(SCALES[-1], None)
        told = ~np.isnan(distances)
        if told.any() and success(distances[told]).mean() >= COUNTS:
            pairs += [(float(distances[i]), trial, int(i)) for i in told.nonzero()[0]]
    pairs.sort(key=lambda pair: pair[0])
    spare = len(pairs) - math.ceil(SHARE * len(pairs) - 1e-9)  # pairs that may stay whole
    if not pairs or pairs[spare][0] <= SUCCESS:
        return None
    likely = SCALES[-1] * (SUCCESS / pairs[spare][0]) ** (1 / GROWTH)
    low, high = 0, len(SCALES) - 1
    next_one = int(np.searchsorted(SCALES, likely))
    while low < high:
        tried = min(next_one, high - 1)
        if _are_enough(pairs, SCALES[tried], spare):
            high, next_one = tried, max(tried - 1, low)
        else:
            low = next_one = tried + 1
    return SCALES[high]


def _are_enough(pairs: Sequence[tuple[float, Trial, int]], strength: float, spare: int) -> bool:
    """Whether no more than ``spare`` of the pairs are whole at ``strength``."""
    whole = 0
    for _, trial, edit in pairs:
        whole += not success(trial(strength, edit))[0]
        if whole > spare:
            return False
    return True


def scaled(deltas: Float32, strength: float, *, base: float) -> Float32:
    """Perturbations (any shape) of strength ``base`` at another ``strength``."""
    return Budget(strength).clip(deltas * np.float32(strength / base))


def unbroken(count: int, faces: int) -> str:
    """What a row says of ``count`` faces, of as many as the photo has, that got the default strength."""
    of = "" if faces == 1 else f" of {count} of {faces} faces"
    return f"{UNBROKEN}{of}; used the default strength {DEFAULT_STRENGTH:g}"


@dataclass(frozen=True, eq=False)
class Scaled:
    """The perturbations of a photo's B faces, each of its own strength."""

    deltas: Float32  # [B, 3, S, S]
    strengths: tuple[float, ...]  # [B], on the [-1, 1] scale
    unbroken: int  # faces for which no strength is enough


class Judges:
    """Deepfake models that strengths are chosen by; may be asked from several threads.

    Args:
        models: the deepfake models.
        classifier: says which attributes a face has: the edits start from them.
    """

    def __init__(self, models: Sequence[DeepfakeModel], classifier: AttributeModel) -> None:
        self._models, self._classifier = models, classifier
        self._sizes = {classifier.image_size, *(model.image_size for model in models)}
        self._lock = threading.Lock()  # a model has one set of buffers, and takes all the cores that it may have

    @classmethod
    def load(cls, cards: Sequence[Card], *, threads: int | None = None) -> Judges:
        """The models of ``cards``, each with so many CPU threads (all that there are where None).

        They run in bfloat16 where the CPU has it, but for networks of the user's, which may not stand it.

        Raises:
            WeightsError: one of them is missing or damaged.
        """
        models = [DeepfakeModel(card, threads=threads, half=card.family != OWN) for card in cards]
        return cls(models, load_attributes(threads=threads))

    def scale(
        self,
        photo: Photo,
        faces: Sequence[Face],
        where: Sequence[Square],
        deltas: Float32,
        *,
        base: float,
        stored: Callable[[Part, Float32, Budget], UInt8] | None = None,
    ) -> Scaled:
        """Give each face the weakest of `SCALES` that breaks enough, or the default strength where none does.

        Args:
            photo: unprotected; it stays as it is.
            faces: [B], as they were found.
            where: [B], their squares.
            deltas: [B, 3, S, S], of strength ``base``.
            base: on the [-1, 1] scale.
            stored: gives the pixels [H, W, 3] of a part of the photo, protected by a perturbation [3, S, S] within a
                budget, as they are once written and read; if None, as they are before that.
        """
        stored = stored or (lambda part, delta, budget: part.protected(delta, budget).pixels)
        chosen = [
            self._strength(part_of(photo, face, square), delta, base, stored)
            for face, square, delta in zip(faces, where, deltas, strict=True)
        ]
        strengths = tuple(strength or DEFAULT_STRENGTH for strength in chosen)
        pairs = zip(deltas, strengths, strict=True)
        scaled_deltas = np.stack([scaled(delta, strength, base=base) for delta, strength in pairs])
        return Scaled(scaled_deltas, strengths, chosen.count(None))

    def _strength(
        self, part: Part, delta: Float32, base: float, stored: Callable[[Part, Float32, Budget], UInt8]
    ) -> float | None:
        if not part.photo.pixels.size:  # a face beyond the photo
            return None

        @functools.cache
        def protected(strength: float) -> dict[int, Float32]:
            pixels = stored(part, scaled(delta, strength, base=base), Budget(strength))
            return to_models(cut(pixels, part.seen), self._sizes)

        original = to_models(cut(part.photo.pixels, part.seen), self._sizes)
        return weakest([self._trial(model, original, protected) for model in self._models])

    def _trial(
        self, model: DeepfakeModel, original: dict[int, Float32], protected: Callable[[float], dict[int, Float32]]
    ) -> Trial:
        """One model on one face; its fakes of the original are made once."""
        x = original[model.image_size][None]
        with self._lock:
            seen = original[self._classifier.image_size][None]
            edits = model.edits(self._classifier.labels(seen, model.attributes, unknown_as=0))[:, 0]
            x = np.repeat(x, len(edits), axis=0)
            fakes = model.fake(x, edits)
        mask = edit_mask(x, fakes)

        def trial(strength: float, edit: int | None) -> Float64:
            of = slice(edit, None if edit is None else edit + 1)
            x_adv = np.repeat(protected(strength)[model.image_size][None], len(edits[of]), axis=0)
            with self._lock:
                return mask_distance(fakes[of], model.fake(x_adv, edits[of]), mask[of])

        return trial


@dataclass(frozen=True, eq=False)
class Part:
    """What surrounds a face, cut along JPEG's blocks: it is stored as it is within the whole photo."""

    photo: Photo  # unprotected
    face: Face
    where: Square  # where the perturbation goes
    seen: Square  # what an adversary cuts out

    def protected(self, delta: Float32, budget: Budget) -> Protected:
        """A copy with a perturbation [3, S, S] blended in."""
        photo = replace(self.photo, pixels=self.photo.pixels.copy())
        return blend(photo, (self.face,), (self.where,), delta[None], budget)


def part_of(photo: Photo, face: Face, where: Square) -> Part:
    """What surrounds ``face``, whose perturbation goes to ``where``."""
    seen = adversary_square(face)
    rows, columns, _, _ = seen.inside(*photo.pixels.shape[:2])
    top, left = rows.start // _GRID * _GRID, columns.start // _GRID * _GRID
    taken = slice(top, -(-rows.stop // _GRID) * _GRID), slice(left, -(-columns.stop // _GRID) * _GRID)
    alpha = None if photo.alpha is None else photo.alpha[taken]
    part = replace(photo, pixels=photo.pixels[taken], alpha=alpha, deep=None, metadata=Metadata())
    moved = (replace(square, x0=square.x0 - left, y0=square.y0 - top) for square in (where, seen))
    return Part(part, face, *moved)
