"""What fine-tuning is worth (the paper's Fig. 9): generators trained without it beside others.

Without it means without the basic perturbations adv_i and without the recognizer of fakes Ide_y: Loss_y (Eq. 7 to 9 and
13) has no weight in the objective, ``lambda_y = 0``.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from dadfi_fast.card import Card
from dadfi_fast.errors import UsageError
from dadfi_fast.evaluate.experiment import Result, Setup
from dadfi_fast.evaluate.methods import generators
from dadfi_fast.evaluate.single_model import COLUMNS, TEXT, draw, measure

#: The setting that stands for fine-tuning on a generator's card, in its table ``settings``.
WEIGHT: Final = "lambda_y"
OWN_TEXT: Final = """\
- lambda_y: the weight of fine-tuning in the generator's training; 0 is without. The paper's d_pix on StarGAN without
  it: 0.0382, on models and pictures of its own.
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
            f"no generator was trained without fine-tuning, by their cards (settings.{WEIGHT} = 0); train one with "
            f"dadfi-fast train --set {WEIGHT}=0, and name it with --generator"
        )
    rows = measure(setup, methods, _weight)
    columns = {"method": COLUMNS["method"], WEIGHT: WEIGHT, **COLUMNS}
    return Result("no-fine-tuning", rows, columns, OWN_TEXT + TEXT, partial(draw, rows=rows))


def _weight(card: Card) -> dict[str, Any]:
    """The weight of fine-tuning in a generator's training; None where its card does not say it."""
    value = card.extra.get("settings", {}).get(WEIGHT)
    return {WEIGHT: None if value is None else float(value)}
