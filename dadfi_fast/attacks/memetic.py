"""The search for MOMA's stages: NSGA-II, and after every generation a local search around what it found.

The objectives are 1 - SR_mask on the pictures that are searched with, and the gradient evaluations a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np
import torch

from dadfi_fast.attacks.base import Calls
from dadfi_fast.attacks.moma import ATTACKERS, LOSSES, MAGNITUDES, STEPS, Genome, Moma, MomaStage
from dadfi_fast.attacks.nsga2 import knee, order, ranks
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.types import LEVELS, Budget, Float32, Float64

#: The values that each gene of a stage can have.
GENES = {
    "attacker": ATTACKERS,
    "loss": LOSSES,
    "magnitude": tuple(range(1, MAGNITUDES + 1)),
    "steps": tuple(range(STEPS + 1)),
}
Measure: TypeAlias = Callable[[Genome], tuple[float, float]]


@dataclass(frozen=True)
class Front:
    """What no other found attack beats in both respects, the cheapest first."""

    genomes: tuple[Genome, ...]
    failures: tuple[float, ...]  # 1 - SR_mask
    costs: tuple[float, ...]  # gradient evaluations a picture
    spent: Calls  # what the search cost

    @property
    def best(self) -> Genome:
        """The one that succeeds most often, the cheapest of those."""
        return self.genomes[self.failures.index(min(self.failures))]

    @property
    def knee(self) -> Genome:
        """The one nearest to both the most success and the least cost."""
        return self.genomes[knee(np.array([self.failures, self.costs]).T)]


def search(
    targets: Sequence[Target],
    crops: Float32,
    labels: Float32,
    budget: Budget,
    *,
    population: int = 12,
    generations: int = 6,
    edits: int | None = 1,
    batch: int = 32,
    seed: int = 0,
) -> Front:
    """Search with the pictures ``crops`` [N, 3, S, S] in [-1, 1] of ``labels`` [N, A].

    Args:
        population: attacks that are kept from one generation to the next; at least 2.
        generations: generations; in each as many attacks are tried anew, and one neighbour of each end of the front.
        edits: see `Moma`.
        batch: pictures that are perturbed at once.
        seed: of everything that is drawn.
    """
    assert len(crops) and population > 1
    rng, spent, seen = np.random.default_rng(seed), Calls(), dict[Genome, tuple[float, float]]()

    def measure(genome: Genome) -> tuple[float, float]:
        if genome not in seen:
            attack = Moma(targets, budget, genome, edits=edits, seed=seed)
            seen[genome] = _measure(attack, crops, labels, batch)
            spent.gradients += attack.calls.gradients
            spent.queries += attack.calls.queries
        return seen[genome]

    survivors = [_random(rng) for _ in range(population)]
    for _ in range(generations):
        born = [_mutated(_crossed(*_parents(survivors, measure, rng), rng), rng) for _ in range(population)]
        survivors = _select(survivors + born, measure)[:population]
        survivors = [_improved(genome, measure, rng) if rank < 2 else genome for rank, genome in enumerate(survivors)]
    return _front(seen, spent)


def _measure(attack: Moma, crops: Float32, labels: Float32, batch: int) -> tuple[float, float]:
    """1 - SR_mask, on pictures rounded to levels, and the gradient evaluations a picture."""
    broken: list[torch.Tensor] = []
    for start in range(0, len(crops), batch):
        part = slice(start, start + batch)
        delta = attack.aim(labels[part])(crops[part])
        x, own = torch.tensor(crops[part], device=attack.oracle.device), torch.tensor(labels[part])
        moved = torch.tensor(np.rint((np.clip(crops[part] + delta, -1, 1) + 1) * LEVELS) / LEVELS - 1).to(x)
        for questions in attack.oracle.questions(x, own.float()):
            broken += [attack.oracle.distance(question, moved) > SUCCESS for question in questions]
    return 1 - torch.cat(broken).float().mean().item(), attack.calls.gradients / len(crops)


def _select(genomes: Sequence[Genome], measure: Measure) -> list[Genome]:
    """The different ones of ``genomes``, best first."""
    different = list(dict.fromkeys(genomes))
    return [different[i] for i in order(_values(different, measure))]


def _parents(genomes: Sequence[Genome], measure: Measure, rng: np.random.Generator) -> tuple[Genome, Genome]:
    """Two winners of tournaments of two."""
    rank = {genome: i for i, genome in enumerate(_select(genomes, measure))}
    pairs = rng.integers(len(genomes), size=(2, 2))
    first, second = (min((genomes[i] for i in pair), key=lambda genome: rank[genome]) for pair in pairs)
    return first, second


def _random(rng: np.random.Generator) -> Genome:
    def stage() -> MomaStage:
        return MomaStage(**{gene: values[rng.integers(len(values))] for gene, values in GENES.items()})  # type: ignore[arg-type]

    return stage(), stage(), stage()


def _crossed(one: Genome, other: Genome, rng: np.random.Generator) -> Genome:
    """Every gene from either parent."""

    def stage(mine: MomaStage, theirs: MomaStage) -> MomaStage:
        return MomaStage(*(getattr(mine if rng.random() < 0.5 else theirs, field.name) for field in fields(MomaStage)))

    first, second, third = (stage(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    return first, second, third


def _mutated(genome: Genome, rng: np.random.Generator) -> Genome:
    """One gene in twelve drawn anew, on average."""
    fresh = _random(rng)
    chance = 1 / (len(genome) * len(GENES))

    def stage(old: MomaStage, new: MomaStage) -> MomaStage:
        drawn = {gene: getattr(new, gene) for gene in GENES if rng.random() < chance}
        return replace(old, **drawn)

    first, second, third = (stage(old, new) for old, new in zip(genome, fresh, strict=True))
    return first, second, third


def _improved(genome: Genome, measure: Measure, rng: np.random.Generator) -> Genome:
    """A neighbour with one gene moved by one place, if it is better in one respect and worse in none."""
    number, gene = int(rng.integers(len(genome))), list(GENES)[rng.integers(len(GENES))]
    values: tuple[object, ...] = GENES[gene]
    rank = values.index(getattr(genome[number], gene)) + (1 if rng.random() < 0.5 else -1)
    stages = list(genome)
    stages[number] = replace(stages[number], **{gene: values[min(max(rank, 0), len(values) - 1)]})  # type: ignore[arg-type]
    neighbour = (stages[0], stages[1], stages[2])
    old, new = measure(genome), measure(neighbour)
    better = all(a <= b for a, b in zip(new, old, strict=True)) and new != old
    return neighbour if better else genome


def _values(genomes: Sequence[Genome], measure: Measure) -> Float64:
    return np.array([measure(genome) for genome in genomes])


def _front(seen: dict[Genome, tuple[float, float]], spent: Calls) -> Front:
    first = {figures: genome for genome, figures in reversed(seen.items())}  # of equals the one that was found first
    values = np.array(list(first))
    best = [figures for figures, rank in zip(first, ranks(values), strict=True) if rank == 0]
    best.sort(key=lambda figures: figures[1])
    return Front(tuple(first[f] for f in best), tuple(f[0] for f in best), tuple(f[1] for f in best), spent)
