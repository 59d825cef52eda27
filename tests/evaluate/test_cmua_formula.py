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
from dadfi_fast.evaluate.laboratory import laboratory
from dadfi_fast.types import Budget, Float32

Asked = Callable[..., Any]


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
def test_success_of_each_model(asked: Asked, eps: float, broken: float) -> None:
    with laboratory(asked()) as lab:
        assert success_unwritten(Stripes(Budget(eps)), lab) == {"fragile": broken, "sturdy": 0}


def test_the_switch_adds_a_column(asked: Asked) -> None:
    plain, with_it = validity.run(asked()), validity.run(asked(cmua_compat=True))
    assert "sr_cmua" not in plain.columns and "sr_cmua" not in plain.rows[0]
    rows = {(row["method"], row["model"]): row["sr_cmua"] for row in with_it.rows}
    assert rows["stripes", "fragile"] > 0.5 and rows["null", "fragile"] == rows["stripes", "sturdy"] == 0
    assert with_it.columns["sr_cmua"] == "CMUA's success" and "CMUA's success" in with_it.text
