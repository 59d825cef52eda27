"""Pairs of files to crops in batches, and what the models made of each back to its file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, TypeAlias

from dadfi_fast.check.conditions import Condition
from dadfi_fast.check.distances import Distances
from dadfi_fast.check.file_result import FaceResult, FileResult
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.preprocess import Crop, Find, around, cut_out, read
from dadfi_fast.errors import PhotoError
from dadfi_fast.metrics import quality
from dadfi_fast.types import UInt8

#: Crops that go through a model at once; memory does not grow with the sample beyond it.
BATCH: Final = 16
#: What a crop belongs to: a pair, and the name of a condition.
Key: TypeAlias = tuple[Pair, str]


class Runner:
    """Turns pairs into crops, and keeps what the models made of each; pictures themselves are not kept.

    Args:
        find: how the adversary finds faces.
        conditions: what is done to the protected picture first, and how wide the crops are.
        sizes: pixels a side at which crops are wanted.
    """

    def __init__(self, find: Find, conditions: Sequence[Condition], sizes: Iterable[int]) -> None:
        self._find, self._conditions, self._sizes = find, conditions, set(sizes)
        self._facts: dict[Pair, tuple[int, float, float]] = {}
        self._found: dict[Key, bool] = {}
        self._parts: dict[Key, list[dict[str, Distances]]] = defaultdict(list)
        self.failures: list[tuple[Pair, str]] = []  # pairs that could not be compared, and why

    def batches(self, pairs: Iterable[Pair], *, tick: Callable[[], object]) -> Iterator[list[tuple[Key, Crop]]]:
        """The crops of all pairs, `BATCH` at a time; ``tick`` is called after every pair."""
        crops = self._crops(pairs, tick)
        while batch := list(islice(crops, BATCH)):
            yield batch

    def enter(self, keys: Sequence[Key], distances: Mapping[str, Distances]) -> None:
        """Note what the models (by name) made of a batch; face i belongs to key i."""
        for i, key in enumerate(keys):
            self._parts[key].append({model: each.face(i) for model, each in distances.items()})

    def samples(self) -> tuple[FileResult, ...]:
        """One for each pair that could be compared, in the order in which they came."""
        return tuple(
            FileResult(
                pair, *facts, {condition.name: self._look(pair, condition.name) for condition in self._conditions}
            )
            for pair, facts in self._facts.items()
        )

    def _crops(self, pairs: Iterable[Pair], tick: Callable[[], object]) -> Iterator[tuple[Key, Crop]]:
        for pair in pairs:
            try:
                yield from self._pair(pair)
            except PhotoError as error:
                self.failures.append((pair, str(error)))
            tick()

    def _pair(self, pair: Pair) -> Iterator[tuple[Key, Crop]]:
        original, written = read(pair.original), read(pair.protected)
        self._facts[pair] = _compare(pair, original, written)
        faces_written = self._find(written)
        for condition in self._conditions:
            one, other = condition.treat(original, written)
            faces = faces_written if other is written else self._find(other)
            squares = around(faces, *other.shape[:2], margin=condition.margin)
            key = pair, condition.name
            self._found[key] = bool(faces)
            yield from ((key, crop) for crop in cut_out(one, other, squares, sizes=self._sizes))

    def _look(self, pair: Pair, condition: str) -> FaceResult:
        parts = self._parts[pair, condition]
        joined = {model: Distances.join([part[model] for part in parts]) for model in parts[0]}
        return FaceResult(len(parts), self._found[pair, condition], joined)


def _compare(pair: Pair, original: UInt8, written: UInt8) -> tuple[int, float, float]:
    """Linf in levels, PSNR in dB and SSIM of a pair."""
    if original.shape != written.shape:
        before, after = (f"{width} x {height}" for height, width, _ in (original.shape, written.shape))
        raise PhotoError(
            f"{pair.name} is {after} pixels but its original is {before}; only equal sizes can be compared"
        )
    return quality.linf(original, written), quality.psnr(original, written), quality.ssim(original, written)
