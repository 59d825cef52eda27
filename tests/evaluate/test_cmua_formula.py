"""The formula, on models whose fakes are known by hand (see `toy_weights`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from dadfi_fast.attacks.base import Attack
from dadfi_fast.evaluate import validity
from dadfi_fast.evaluate.cmua_formula import success_unwritten
from dadfi_fast.evaluate.protocol import open_protocol
from dadfi_fast.metrics.defence import edit_mask, mask_distance, success
from dadfi_fast.types import Budget, Float32

MakeSetup = Callable[..., Any]


class Stripes(Attack):
    """Stripes that are as wide as two pixels of the models."""

    def run(self, crops: Float32) -> Float32:
        stripes = np.where(np.arange(crops.shape[-1]) // 16 % 2, 1, -1).astype(np.float32)
        return np.broadcast_to(self.budget.eps * stripes, crops.shape)


@pytest.mark.parametrize(
    ("eps", "broken"),
    [
        (0.05, 1.0),
        (0.0117, 1.0),  # one and a half levels, just enough: rounded to one, they would not be
        (0.0078, 0.0),  # one level: 40 times two thirds of it, squared, is less than 0.05
        (0.0, 0.0),
    ],
)
def test_success_of_each_model(make_setup: MakeSetup, eps: float, broken: float) -> None:
    with open_protocol(make_setup()) as protocol:
        assert success_unwritten(Stripes(Budget(eps)), protocol) == {"fragile": broken, "sturdy": 0}


def test_the_switch_adds_a_column(make_setup: MakeSetup) -> None:
    plain, with_it = validity.run(make_setup()), validity.run(make_setup(cmua_compat=True))
    assert "sr_cmua" not in plain.columns and "sr_cmua" not in plain.rows[0]
    rows = {(row["method"], row["model"]): row["sr_cmua"] for row in with_it.rows}
    assert rows["stripes", "fragile"] > 0.5 and rows["null", "fragile"] == rows["stripes", "sturdy"] == 0
    assert with_it.columns["sr_cmua"] == "CMUA's success" and "CMUA's success" in with_it.text


def by_the_release(original: Float32, clean: Float32, broken: Float32) -> bool:
    """The rule as it is written out there, for a batch [1, 3, H, W], sum by sum."""
    changed = [
        [sum(abs(float(clean[0, c, i, j]) - float(original[0, c, i, j])) for c in range(3)) > 0.5 for j in range(4)]
        for i in range(4)
    ]
    positions = [(i, j) for i in range(4) for j in range(4) if changed[i][j]]
    if not positions:
        return False
    total = sum((float(broken[0, c, i, j]) - float(clean[0, c, i, j])) ** 2 for c in range(3) for i, j in positions)
    return total / (3 * len(positions)) > 0.05


def test_the_masked_distance_is_the_formula() -> None:
    """On random pictures of all strengths, some of them with an empty mask."""
    rng = np.random.default_rng(0)
    successes = []
    for number in range(200):
        x, y = (rng.uniform(-1, 1, (1, 3, 4, 4)).astype(np.float32) for _ in range(2))
        y = x if number % 20 == 0 else y
        broken = (y + rng.normal(0, rng.uniform(0.1, 0.35), y.shape)).clip(-1, 1).astype(np.float32)
        successes.append(bool(success(mask_distance(y, broken, edit_mask(x, y)))[0]))
        assert successes[-1] == by_the_release(x, y, broken)
    assert 40 < sum(successes) < 160
