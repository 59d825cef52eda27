from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from dadfi_fast.attacks.base import Attack
from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.evaluate.methods import Informed, Unchanged, generators
from dadfi_fast.types import Budget, Float32


class Told(Attack):
    """Notes what it is told."""

    def aim(self, labels: Float32) -> Attack:
        self.labels = labels
        return self

    def run(self, crops: Float32) -> Float32:
        return np.full_like(crops, 9)


def test_generators_are_known_by_their_names(make_setup: Callable[..., Any], stripes: Path) -> None:
    methods = generators(make_setup(generators=(str(stripes), f"other={stripes}"), strength=0.02))
    assert [method.name for method in methods] == ["stripes", "other"]
    assert [len(method.generator or "") for method in methods] == [64, 64]
    assert (methods[0].runs_on or "").startswith("openvino-cpu")
    crops = np.zeros((1, 3, 256, 256), np.float32)
    assert np.abs(methods[0].attack(crops)).max() == pytest.approx(0.02)  # the strength that was asked for


def test_a_path_with_an_equals_sign_is_a_path(make_setup: Callable[..., Any], carded: Any, tmp_path: Path) -> None:
    path = carded("a=b")
    (method,) = generators(make_setup(generators=(str(path),)))
    assert method.name == "a=b"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"generators": ("no-such",)}, UsageError, "no-such"),
        ({"backend": "openvino", "device": "cuda"}, UsageError, "openvino"),
    ],
)
def test_what_cannot_be_loaded(make_setup: Callable[..., Any], changes: Any, error: Any, message: str) -> None:
    with pytest.raises((error, BackendMissing), match=message):
        generators(make_setup(**changes))


def test_two_of_one_name_are_refused(make_setup: Callable[..., Any], stripes: Path) -> None:
    with pytest.raises(UsageError, match=r"2 generators are named 'stripes'.*LABEL=stripes"):
        generators(make_setup(generators=(str(stripes), str(stripes))))


def test_an_attack_is_told_what_is_seen() -> None:
    crops = np.stack([np.full((3, 8, 8), level, np.float32) for level in (-0.5, 0.5)])
    told = Told(Budget(0.05))
    attack = Informed(told, lambda pictures: pictures[:, :1, 0, 0])
    assert np.abs(attack(crops)).max() == np.float32(0.05)
    assert told.labels.tolist() == [[-0.5], [0.5]]


def test_unchanged() -> None:
    crops = np.ones((1, 3, 8, 8), np.float32)
    assert not Unchanged(Budget(0.05))(crops).any()
