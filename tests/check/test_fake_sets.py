from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dadfi_fast.check.fake_sets import FakeSets
from dadfi_fast.types import Float32, UInt8


class Network:
    """The mean level and a constant as features."""

    def __call__(self, pixels: UInt8) -> Float32:
        assert pixels.dtype == np.uint8
        return np.stack([pixels.mean((1, 2, 3)), np.ones(len(pixels))], axis=1).astype(np.float32)


MODEL: Any = SimpleNamespace(name="m")


def flat(*values: float) -> Float32:
    return np.stack([np.full((3, 4, 4), value, np.float32) for value in values])


def shown(sets: FakeSets, *batches: tuple[list[str], Float32, Float32]) -> FakeSets:
    for names, fakes, broken in batches:
        sets.crops([((None, name), None) for name in names])  # type: ignore[misc]
        sets.fakes(MODEL, 0, fakes, broken, np.zeros(len(names)))
    return sets


def test_each_condition_has_its_sets() -> None:
    sets = FakeSets(Network(), count=9, conditions=("written", "noise"))  # type: ignore[arg-type]
    names = ["written", "noise", "blur", "written"]
    shown(sets, (names, flat(-1, -1, 0, 1), flat(-1, 1, 0, 1)), (["noise"], flat(-1), flat(1)))
    assert (sets.n("m"), sets.n("m", "noise"), sets.n("m", "blur")) == (2, 2, 0)
    assert sets.distance("m") == pytest.approx(0, abs=1e-6)
    assert sets.distance("m", "noise") == pytest.approx(255**2)
    assert math.isnan(sets.distance("m", "blur"))


def test_only_so_many_are_kept() -> None:
    sets = FakeSets(Network(), count=3)  # type: ignore[arg-type]
    shown(sets, *[(["written"] * 2, flat(0, 0), flat(0.5, 0.5))] * 3)
    assert sets.n("m") == 3


@pytest.mark.parametrize(("network", "count"), [(None, 5), (Network(), 0), (Network(), 1)])
def test_nothing_to_compare(network: Any, count: int) -> None:
    sets = shown(FakeSets(network, count=count), (["written"] * 2, flat(0, 0), flat(1, 1)))
    assert math.isnan(sets.distance("m"))
