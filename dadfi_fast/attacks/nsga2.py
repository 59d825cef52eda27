"""Selection by two or more objectives, all to be small: NSGA-II (Deb et al., IEEE TEC 2002). numpy only."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dadfi_fast.types import Float64

Int: TypeAlias = NDArray[np.intp]


def ranks(objectives: Float64) -> Int:
    """The front that each of N points [N, M] lies on, [N]: 0 where no other is better in all respects, and so on."""
    no_worse = np.all(objectives[:, None] <= objectives[None], axis=2)
    better = np.any(objectives[:, None] < objectives[None], axis=2)
    dominates: NDArray[np.bool_] = np.logical_and(no_worse, better)
    rank = np.full(len(objectives), -1)
    front = 0
    while (rank < 0).any():
        left = rank < 0
        rank[left & ~dominates[left].any(0)] = front
        front += 1
    return rank


def crowding(objectives: Float64) -> Float64:
    """How far each of N points [N, M] of one front is from its neighbours, [N]; infinite at the ends."""
    distance = np.zeros(len(objectives))
    for values in objectives.T:
        order = np.argsort(values, kind="stable")
        spread = values[order[-1]] - values[order[0]]
        distance[order[[0, -1]]] = np.inf
        if spread > 0:
            distance[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / spread
    return distance


def order(objectives: Float64) -> Int:
    """The N points [N, M] from the best to the worst, [N]: by front, and within a front the lonely ones first."""
    rank = ranks(objectives)
    lonely = np.zeros(len(objectives))
    for front in range(rank.max() + 1):
        lonely[rank == front] = crowding(objectives[rank == front])
    return np.lexsort((-lonely, rank))


def knee(objectives: Float64) -> int:
    """The point of a front [N, M] nearest to the best of everything, each objective scaled to [0, 1]."""
    low, high = objectives.min(0), objectives.max(0)
    scaled = (objectives - low) / np.where(high > low, high - low, 1)
    return int(np.argmin((scaled**2).sum(1)))
