"""Which models a generator protects from, by those that it was trained against (the paper's Fig. 8).

A matrix of generators and deepfake models. The cards say what each generator has seen (``targets``); a model that it
has not seen is a black box for it, as in a leave-one-out training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dadfi_fast.card import Card
from dadfi_fast.check.conditions import WRITTEN
from dadfi_fast.check.verdict import Verdict
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.laboratory import laboratory, noise_before
from dadfi_fast.evaluate.matrix import Matrix, matrices
from dadfi_fast.evaluate.methods import NOISE, Method, generators

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
  detection and crop. noise: uniform noise of the same strength instead, all over the picture.
"""


def run(setup: Setup) -> Result:
    """Measure every generator of ``setup`` against every model.

    Raises:
        UsageError: a model or a generator is unknown.
        DataError: the pictures cannot be read.
    """
    rows = measure(setup)
    return Result("single-model", rows, COLUMNS, TEXT, partial(draw, rows=rows))


def measure(setup: Setup, methods: Sequence[Method] = (), told: Told = lambda card: {}) -> list[Row]:
    """A row for every generator and model, then one of noise for every model.

    Args:
        methods: the generators, where they are loaded already.
        told: what rows say besides of a generator.
    """
    rows: list[Row] = []
    with laboratory(setup) as lab:
        hashes = {model.name: model.card.sha256 for model in lab.models}
        for method in methods or generators(setup):
            with lab.written(method) as pairs:
                verdict = lab.check(pairs)
            assert method.card is not None
            for model in verdict.models:
                facts = _seen(method.card, hashes[model]) | told(method.card)
                rows.append({**_figures(method.name, model, verdict), **facts, **lab.facts(method, [model])})
        noise = noise_before(setup.strength, WRITTEN)
        with lab.written(lab.unchanged()) as pairs:
            verdict = lab.check(pairs, conditions=[noise])
        rows += [{**_figures(NOISE, m, verdict, noise.name), **lab.facts(models=[m])} for m in verdict.models]
    return rows


def _figures(method: str, model: str, verdict: Verdict, condition: str = WRITTEN.name) -> dict[str, Any]:
    scores = verdict.scores(model, condition)
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

    def matrix(title: str, key: str, limit: float | None = None) -> Matrix:
        return Matrix(title, [[by_place[method, model][key] for model in models] for method in methods], limit)

    marked = [[by_place[method, model].get("black_box") == "yes" for model in models] for method in methods]
    shown = [matrix("SR_mask", "sr_mask", 1), matrix("d_pix", "d_pix")]
    matrices(figure, shown, rows=methods, columns=models, marked=marked, mark="a model that the generator has not seen")
