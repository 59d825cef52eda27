"""Snapshots of a deepfake model's training: a few averaged generators, spread over the last half of its steps.

The generator that protects is trained against a pool of them, so that it learns what a model's weights have in common
rather than one set of them. The idea is LGV's (Gubri et al., ECCV 2022): weights along one training are cheap members
of an ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence


def thinned(steps: Sequence[int], count: int) -> list[int]:
    """Which of the snapshots taken at ``steps`` (ascending) to keep: at most ``count``, none of the first half.

    The latest always stays. Of the others, the one that leaves the smallest gap behind goes first.
    """
    assert count >= 1, count
    kept = [step for step in steps if 2 * step >= steps[-1]] if steps else []
    while len(kept) > count:
        gaps = [after - before for before, after in zip(kept, kept[2:], strict=False)]  # left by each but the two ends
        del kept[gaps.index(min(gaps)) + 1 if gaps else 0]
    return kept
