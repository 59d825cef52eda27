"""How long it takes to protect one picture (the paper's Fig. 7): every method, the same pictures, machine and run.

What is timed is the attack: face crops in, as large as the method takes them, and perturbations out, both in memory,
labels known. All that ``protect`` does besides is the same for every method and has a row of its own. The methods take
turns within a round, so that what slows the machine down slows all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dadfi_fast.attacks.base import Calls
from dadfi_fast.attacks.registry import ATTACKS
from dadfi_fast.evaluate.bar_chart import Panel, bars
from dadfi_fast.evaluate.compared_methods import facts, gather
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.methods import Method
from dadfi_fast.evaluate.protocol import Protocol, open_protocol
from dadfi_fast.types import Float32

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Index: TypeAlias = NDArray[np.integer[Any]]

#: Pictures to a call.
BATCHES: Final = (1, 8)
#: Pictures that are timed in a round, at most, and rounds.
PICTURES: Final = 8
ROUNDS: Final = 3
#: Seconds of a round that are enough: slow methods get fewer pictures, at least one batch.
ENOUGH: Final = 5.0
#: The attacks that work on a picture in many steps; the others go over it once, or add what was made beforehand.
ITERATIVE: Final = frozenset(ATTACKS) - {"noise", "fgsm", "cmua", "initiative", "mse", "dadfi"}
#: The row of what is no attack.
REST: Final = "the rest of protect"
COLUMNS: Final = {
    "method": "method",
    "batch": "batch",
    "n": "pictures a round",
    "ms": "ms a picture",
    "ms_least": "fastest round",
    "ms_most": "slowest round",
    "ratio": "ratio",
    "gradients": "gradients a picture",
    "queries": "queries a picture",
    "spent_gradients": "gradients beforehand",
    "spent_queries": "queries beforehand",
}
TEXT: Final = f"""\
- ms a picture: the mean over {ROUNDS} rounds, in which the methods take turns, for the perturbation of a face crop, in
  memory; fastest and slowest round: the spread. "{REST}": decoding, detection, crop, blending, PNG encoding
  and writing of the same pictures, all threads, one run.
- ratio: the time of the fastest method that works in many steps, over that of this one, at the same batch.
- gradients, queries: how often a deepfake model is differentiated, or only called, with one edit of one picture; the
  picture's clean fakes are queries. Beforehand: what was asked, once, to make the method (generators: not counted).
"""


@dataclass
class Timed:
    """What was measured of a method at one batch size."""

    method: Method
    batch: int
    rounds: list[float] = field(default_factory=list)  # ms a picture
    asked: Calls = field(default_factory=Calls)
    pictures: int = 0


def run(setup: Setup) -> Result:
    """Time the methods of ``setup``.

    Raises:
        UsageError: a name is unknown, or something that a named method needs is missing.
        DataError: the pictures cannot be read.
    """
    with open_protocol(setup) as protocol:
        compared = gather(protocol)
        sizes = {method.attack.crop_size for method in compared.methods}
        crops = {size: protocol.crops(count=PICTURES, size=size) for size in sizes}
        timed = [Timed(method, batch) for batch in BATCHES for method in compared.methods]
        measure(timed, crops, protocol.labels(crops[max(sizes)], compared.columns), setup)
        rows = [*_rows(timed, protocol), _rest(protocol)]
    draw = partial(_draw, rows=rows[:-1])
    return Result("speed", rows, COLUMNS, TEXT + compared.text, draw, answer(rows), arrays=compared.arrays)


def answer(rows: Sequence[Row]) -> str:
    """How long generators take, beside the fastest method that works in many steps, Markdown."""
    lines = []
    for row in rows:
        if row["generator"]:
            took = f"{row['ms']:.1f} ms a picture ({row['ms_least']:.1f} to {row['ms_most']:.1f})"
            known = row["ratio"] == row["ratio"]
            beside = f"; the fastest method in many steps takes {row['ratio']:.0f} times as long" if known else ""
            lines.append(f"- **{row['method']}**, batch {row['batch']}: {took}{beside}.")
    return "\n".join(lines)


def measure(timed: Sequence[Timed], crops: Mapping[int, Float32], labels: Float32, setup: Setup) -> None:
    """Time every case once in each round, after one call of each that does not count.

    Args:
        crops: of the same pictures, [N, 3, S, S] by S.
    """
    rounds = []
    for each in timed:
        setup.progress.stage(f"{each.method.name}, batch {each.batch}, to warm up")
        took = _call(each, _crops(each, crops)[: each.batch], labels[: each.batch])
        parts = _parts(len(labels), each.batch)
        rounds.append((each, parts[: max(1, int(ENOUGH / took))] if took else parts))
    setup.progress.plan(ROUNDS * sum(each.batch * len(parts) for each, parts in rounds))
    for number in range(ROUNDS):
        for each, parts in rounds if number % 2 else reversed(rounds):
            setup.progress.stage(f"{each.method.name}, batch {each.batch}, round {number + 1} of {ROUNDS}")
            _round(each, [(_crops(each, crops)[part], labels[part]) for part in parts])
            setup.progress.tick(each.batch * len(parts))


def _crops(each: Timed, crops: Mapping[int, Float32]) -> Float32:
    return crops[each.method.attack.crop_size]


def _parts(count: int, batch: int) -> list[Index]:
    """Which of ``count`` pictures are in each call of a round; a batch is filled up, if it must be."""
    index = np.arange(max(count, batch)) % count
    return [index[start : start + batch] for start in range(0, len(index) - batch + 1, batch)]


def _round(each: Timed, parts: Sequence[tuple[Float32, Float32]]) -> None:
    calls, count = each.method.attack.calls, each.batch * len(parts)
    before = Calls(calls.gradients, calls.queries)
    seconds = sum(_call(each, crops, labels) for crops, labels in parts)
    each.rounds.append(1000 * seconds / count)
    each.asked.gradients += calls.gradients - before.gradients
    each.asked.queries += calls.queries - before.queries
    each.pictures += count


def _call(each: Timed, crops: Float32, labels: Float32) -> float:
    attack = each.method.attack.aim(labels)
    start = time.perf_counter()
    attack(crops)
    return time.perf_counter() - start


def _rows(timed: Sequence[Timed], protocol: Protocol) -> Iterator[Row]:
    for each in timed:
        rivals = [float(np.mean(t.rounds)) for t in timed if t.batch == each.batch and t.method.name in ITERATIVE]
        mean, spent = float(np.mean(each.rounds)), each.method.attack.spent
        yield {
            "method": each.method.name,
            "batch": each.batch,
            "ms": mean,
            "ms_least": min(each.rounds),
            "ms_most": max(each.rounds),
            "ratio": min(rivals) / mean if rivals else float("nan"),
            "gradients": each.asked.gradients / each.pictures,
            "queries": each.asked.queries / each.pictures,
            "spent_gradients": spent.gradients,
            "spent_queries": spent.queries,
            "rounds": len(each.rounds),
            **facts(protocol),
            **protocol.facts(each.method),
            "n": each.pictures // len(each.rounds),
        }


def _rest(protocol: Protocol) -> Row:
    """What a picture costs where the attack costs nothing."""
    start = time.perf_counter()
    with protocol.written(protocol.unchanged()) as pairs:
        ms = 1000 * (time.perf_counter() - start) / len(pairs)
    return {"method": REST, "ms": ms, **facts(protocol), **protocol.facts()}


def _draw(figure: Figure, *, rows: Sequence[Row]) -> None:
    panels = [
        Panel("ms a picture", [row["ms"] for row in rows], log=True),
        Panel("ratio to the fastest in many steps", [row["ratio"] for row in rows], log=True),
    ]
    labels, groups = [row["method"] for row in rows], [f"batch {row['batch']}" for row in rows]
    bars(figure, panels, labels=labels, groups=groups, control="")
