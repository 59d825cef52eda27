"""What fine-tuning is worth (the paper's Fig. 9): generators trained without it beside others.

Without it means without the basic perturbations adv_i and without the recognizer of fakes Ide_y: Loss_y (Eq. 7 to 9 and
13) has no weight in the objective, ``lambda_y = 0``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from dadfi_fast.errors import UsageError
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.methods import generators
from dadfi_fast.evaluate.single_model import COLUMNS, TEXT, draw, measure
from dadfi_fast.model_card import Card

#: The setting that stands for fine-tuning on a generator's card, in its table ``settings``.
WEIGHT: Final = "lambda_y"
#: The paper's d_pix on StarGAN without fine-tuning, and the least that it reports with it.
WITHOUT, WITH = 0.0382, 0.06
OWN_TEXT: Final = f"""\
- lambda_y: the weight of fine-tuning in the generator's training; 0 is without. The paper's d_pix on StarGAN: {WITHOUT}
  without, above {WITH} with it, on models and pictures of its own.
"""


def run(setup: Setup) -> Result:
    """Measure every generator of ``setup`` against every model, one of them at least trained without fine-tuning.

    Raises:
        UsageError: no card says that its generator was; or a name is unknown.
        DataError: the pictures cannot be read.
    """
    methods = generators(setup)
    if not any(_weight(method.card)[WEIGHT] == 0 for method in methods if method.card):
        raise UsageError(
            f"no generator was trained without fine-tuning, according to their cards (settings.{WEIGHT} = 0)."
            f" Train one with dadfi-fast train --set {WEIGHT}=0, and pass it with --generator."
        )
    rows = measure("no-fine-tuning", setup, methods, _weight)
    columns = {"method": COLUMNS["method"], WEIGHT: WEIGHT, **COLUMNS}
    words = "\n\n".join(filter(None, [answer(rows), _apart([method.card for method in methods if method.card])]))
    return Result("no-fine-tuning", rows, columns, OWN_TEXT + TEXT, partial(draw, rows=rows), words)


def answer(rows: Sequence[Row]) -> str:
    """Whether fine-tuning raises d_pix, as it does in the paper, model by model, Markdown."""
    asked = "**Does fine-tuning break fakes further (d_pix), as in the paper?**"
    known = [row for row in rows if row.get(WEIGHT) is not None]
    lines, ways = [], []
    for model in dict.fromkeys(row["model"] for row in known):
        of_model = [row for row in known if row["model"] == model]
        sides = [[row["d_pix"] for row in of_model if (row[WEIGHT] > 0) is tuned] for tuned in (True, False)]
        if all(sides):
            tuned, plain = map(np.mean, sides)
            ways.append(bool(tuned > plain))
            lines.append(f"- {model}: d_pix {tuned:.4f} with, {plain:.4f} without: {'yes' if ways[-1] else 'no'}")
    if not ways:
        return f"{asked} Not answered: name a generator that was trained with it, too (--generator)."
    return "\n".join([f"{asked} On {sum(ways)} of {len(ways)} models.", "", *lines])


def _apart(cards: Sequence[Card]) -> str:
    """In what else the generators differ by their cards: then it is not fine-tuning alone that is compared."""
    facts: list[dict[str, Any]] = [
        {"steps": card.extra.get("steps"), "preset": card.extra.get("preset"), "gated": card.extra.get("gated", False)}
        for card in cards
    ]
    for each, card in zip(facts, cards, strict=True):
        each["targets"] = [target["name"] for target in card.extra.get("targets", ())]
        each |= {key: value for key, value in card.extra.get("settings", {}).items() if key != WEIGHT}
    keys = dict.fromkeys(key for each in facts for key in each)
    apart = [key for key in keys if any(each.get(key) != facts[0].get(key) for each in facts)]
    return f"The generators differ in more than that, by their cards: {', '.join(apart)}." if apart else ""


def _weight(card: Card) -> dict[str, Any]:
    """The weight of fine-tuning in a generator's training; None where its card does not say it."""
    value = card.extra.get("settings", {}).get(WEIGHT)
    return {WEIGHT: None if value is None else float(value)}
