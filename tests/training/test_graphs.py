"""Which calls of a step's part are replays, and what happens where a part cannot be captured. No graph is made here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dadfi_fast.training import graphs
from dadfi_fast.training.graphs import WARM_UP, Graphs

Calls = list[str]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What was done, in order; a capture fails for parts whose name begins with `bad`."""
    done: Calls = []

    class Room:
        def warm_up(self, part: graphs.Part, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
            done.append("warm")
            return part(*inputs)

    class Captured:
        def __init__(self, part: graphs.Part, inputs: tuple[Tensor, ...], room: Room) -> None:
            done.append("capture")
            if part.__name__.startswith("bad"):
                raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 1 GiB")
            self._part = part

        def __call__(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
            done.append("replay")
            return self._part(*inputs)

    monkeypatch.setattr(graphs, "_Captured", Captured)
    monkeypatch.setattr(graphs, "_Room", Room)
    return done


def good(x: Tensor) -> dict[str, Tensor]:
    return {"sum": x.sum()}


def bad(x: Tensor) -> dict[str, Tensor]:
    return {"sum": x.sum()}


def test_the_first_calls_run_as_they_are_and_the_rest_are_replays(calls: Calls) -> None:
    run = Graphs(enabled=True)
    sums = [run(good, torch.full((2,), float(i)))["sum"].item() for i in range(WARM_UP + 2)]
    assert sums == [2.0 * i for i in range(WARM_UP + 2)]
    assert calls == [*["warm"] * WARM_UP, "capture", "replay", "replay"]


def test_other_shapes_have_a_graph_of_their_own(calls: Calls) -> None:
    run = Graphs(enabled=True)
    for size in (2, 3):
        for _ in range(WARM_UP + 1):
            run(good, torch.ones(size))
    assert calls == [*["warm"] * WARM_UP, "capture", "replay"] * 2


def test_what_cannot_be_captured_runs_as_it_is_and_says_so(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    run = Graphs(enabled=True)
    sums = [run(bad, torch.full((2,), float(i)))["sum"].item() for i in range(WARM_UP + 3)]
    assert sums == [2.0 * i for i in range(WARM_UP + 3)]  # none left out, none twice
    assert calls == [*["warm"] * WARM_UP, "capture"] and not run.enabled
    assert capsys.readouterr().err == "cannot capture bad as a CUDA graph: CUDA out of memory. Going on without.\n"


def test_nothing_is_captured_unless_enabled(calls: Calls) -> None:
    run = Graphs(enabled=False)
    assert [run(good, torch.ones(2))["sum"].item() for _ in range(6)] == [2.0] * 6
    assert calls == []
