"""Which models a generator protects from, by those that it was trained against (the paper's Fig. 8).

A matrix of generators and deepfake models. The cards say what each generator has seen (``targets``); a model that it
has not seen is a black box for it, as in a leave-one-out training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from dadfi_fast.check.conditions import WRITTEN
from dadfi_fast.check.result import CheckResult
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.heat_map import HeatMap, heat_maps
from dadfi_fast.evaluate.methods import NOISE, NULL, Method, generators
from dadfi_fast.evaluate.protocol import Protocol, noise_before, open_protocol
from dadfi_fast.model_card import Card

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: More facts of a generator, by its card.
Told: TypeAlias = Callable[[Card], dict[str, Any]]
COLUMNS: Final = {
    "method": "generator",
    "targets": "trained against",
    "model": "model",
    "black_box": "black box",
    "sr_mask": "SR_mask",
    "d_mask": "d_mask",
    "d_pix": "d_pix",
    "n_empty": "empty masks",
}
TEXT: Final = """\
- trained against: what the generator's card says; black box: the model (this very file, by its hash) is none of those.
- SR_mask: share of fakes whose d_mask (mean squared difference of the two fakes where the edit changed the picture) is
  above 0.05; d_pix: the same distance over the whole picture. Of written files (PNG), after the adversary's own
  detection and crop. null: the unchanged picture; noise: uniform noise of the same strength, all over it.
"""


def run(setup: Setup) -> Result:
    """Measure every generator of ``setup`` against every model.

    Raises:
        UsageError: a model or a generator is unknown.
        DataError: the pictures cannot be read.
    """
    rows = measure("single-model", setup)
    return Result("single-model", rows, COLUMNS, TEXT, partial(draw, rows=rows), answer(rows))


def measure(experiment: str, setup: Setup, methods: Sequence[Method] = (), told: Told = lambda card: {}) -> list[Row]:
    """A row for every generator and model, then one of the unchanged picture and one of noise for every model.

    Args:
        experiment: whose rows they are.
        methods: the generators, where they are loaded already.
        told: what rows say besides of a generator.
    """
    methods = methods or generators(setup)
    with open_protocol(setup) as protocol:
        cards = [each.card.extra if each.card else {} for each in methods]
        own = [
            protocol.unit(each.name, partial(_protected, protocol, each, told), each, card=card)
            for each, card in zip(methods, cards, strict=True)
        ]
        return protocol.measured(experiment, [*own, protocol.unit("null and noise", partial(_controls, protocol))])


def _protected(protocol: Protocol, method: Method, told: Told) -> Iterator[Row]:
    hashes = {model.name: model.card.sha256 for model in protocol.models}
    with protocol.written(method) as pairs:
        result = protocol.check(pairs)
    assert method.card is not None
    for model in result.models:
        facts = _seen(method.card, hashes[model]) | told(method.card)
        yield {**_figures(method.name, model, result), **facts, **protocol.facts(method, [model])}


def _controls(protocol: Protocol) -> Iterator[Row]:
    noise = noise_before(protocol.setup.strength, WRITTEN)
    with protocol.written(protocol.unchanged()) as pairs:
        result = protocol.check(pairs, conditions=[noise])
    for name, condition in ((NULL, WRITTEN.name), (NOISE, noise.name)):
        for model in result.models:
            yield {**_figures(name, model, result, condition), **protocol.facts(models=[model])}


def answer(rows: Sequence[Row]) -> str:
    """Whether generators break what they were trained against more than what they have not seen, Markdown."""
    lines, gaps = [], []
    for method in dict.fromkeys(row["method"] for row in rows if row["generator"]):
        own = [row for row in rows if row["method"] == method]
        sides = {side: [row["sr_mask"] for row in own if row["black_box"] == side] for side in ("no", "yes")}
        if not any(sides.values()):
            lines.append(f"- {method}: its card does not say what it was trained against.")
            continue
        seen, unseen = (_mean_of(sides[side]) for side in ("no", "yes"))
        lines.append(
            f"- {method}, trained against {own[0]['targets']}: SR_mask {seen} of those, {unseen} of the others."
        )
        if all(sides.values()):
            gaps.append(np.mean(sides["no"]) > np.mean(sides["yes"]))
    return "\n".join([_verdict(gaps), "", *lines])


def _verdict(gaps: Sequence[bool]) -> str:
    asked = "**Does a generator break what it was trained against, and less of what it has not seen?**"
    why = "which is why the paper trains against several models at once (Eq. 14)"
    if not gaps:
        return f"{asked} Not answered: no generator was measured both on models that it has seen and on others."
    if all(gaps):
        return f"{asked} Yes, all of them, {why}: it goes the way of the paper."
    return f"{asked} {sum(gaps)} of {len(gaps)} do, {why}: it does not go the way of the paper throughout."


def _mean_of(shares: Sequence[float]) -> str:
    return f"{np.mean(shares):.3f} (mean of {len(shares)})" if shares else "- (none)"


def _figures(method: str, model: str, result: CheckResult, condition: str = WRITTEN.name) -> dict[str, Any]:
    scores = result.scores(model, condition)
    return {
        "method": method,
        "model": model,
        "sr_mask": scores.sr_mask,
        "d_mask": scores.d_mask,
        "d_pix": scores.d_pix,
        "sr": scores.sr,
        "n_edits": scores.n_edits,
        "n_empty": scores.n_empty,
    }


def _seen(card: Card, sha256: str) -> dict[str, Any]:
    """What a generator was trained against, and whether the model of this hash is none of it; None: not known."""
    targets = card.extra.get("targets")
    if targets is None:
        return {"targets": None, "black_box": None}
    names = ", ".join(str(target["name"]) for target in targets)
    return {"targets": names, "black_box": "yes" if all(t["sha256"] != sha256 for t in targets) else "no"}


def draw(figure: Figure, *, rows: Sequence[Row]) -> None:
    """A matrix of SR_mask and one of d_pix, with black boxes marked."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    by_place = {(row["method"], row["model"]): row for row in rows}

    def matrix(title: str, key: str, limit: float | None = None) -> HeatMap:
        return HeatMap(title, [[by_place[method, model][key] for model in models] for method in methods], limit)

    marked = [[by_place[method, model].get("black_box") == "yes" for model in models] for method in methods]
    shown = [matrix("SR_mask", "sr_mask", 1), matrix("d_pix", "d_pix")]
    heat_maps(
        figure, shown, rows=methods, columns=models, marked=marked, mark="a model that the generator has not seen"
    )
