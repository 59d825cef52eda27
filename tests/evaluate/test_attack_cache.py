"""Attacks that are made beforehand, kept for the next run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from dadfi_fast.evaluate.compared_methods import gather
from dadfi_fast.evaluate.experiment import Progress
from dadfi_fast.evaluate.protocol import open_protocol

MakeSetup = Callable[..., Any]
QUICK = {"cmua": {"steps": 1}, "moma": {"population": 2, "generations": 1}}
pytestmark = pytest.mark.usefixtures("differentiable")


@pytest.fixture
def gather_attacks(make_setup: MakeSetup, others: Path, tmp_path: Path) -> Callable[..., tuple[list[Any], list[str]]]:
    """The two attacks, and what was said while they were made or found."""

    def gathered(options: Any = None, **changes: Any) -> tuple[list[Any], list[str]]:
        said: list[str] = []
        settings = {
            "train": (others,),
            "methods": ("cmua", "moma"),
            "options": options or QUICK,
            "out": tmp_path / "out",
        }
        with open_protocol(make_setup(**(settings | changes), progress=Progress(note=said.append))) as protocol:
            return [method.attack for method in gather(protocol).methods[:2]], said

    return gathered


def test_the_second_run_takes_what_the_first_made(gather_attacks: Any, tmp_path: Path) -> None:
    (mark, memetic), said = gather_attacks()
    assert [text.split()[0] for text in said] == ["making", "making"] and "2 other pictures" in said[0]
    (again, memetic_again), said = gather_attacks()
    assert all("made before, taken from" in text for text in said)
    assert np.array_equal(mark.pattern, again.pattern) and memetic.genome == memetic_again.genome
    assert (mark.spent, memetic.spent) == (again.spent, memetic_again.spent) and mark.spent.gradients > 0
    assert len(list((tmp_path / "out" / "finished").glob("*.npz"))) == 2


@pytest.mark.parametrize("changes", [{"strength": 0.03}, {"models": ("fragile",)}, {"fresh": True}, {"out": None}])
def test_what_depends_on_something_else_is_made_anew(gather_attacks: Any, changes: Any) -> None:
    gather_attacks()
    _, said = gather_attacks(**changes)
    assert all(text.startswith("making") for text in said)


def test_other_options_make_another_watermark(gather_attacks: Any) -> None:
    (mark, _), _ = gather_attacks()
    (other, _), said = gather_attacks(options=QUICK | {"cmua": {"steps": 2}})
    assert said[0].startswith("making") and "made before" in said[1]
    assert not np.array_equal(mark.pattern, other.pattern)
