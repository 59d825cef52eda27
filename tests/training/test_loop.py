from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from dadfi_fast.errors import DataError
from dadfi_fast.training import checkpoint
from dadfi_fast.training.loop import Progress, run


class Sum:
    """Adds up what it draws."""

    def __init__(self, *, stop_at: int = -1) -> None:
        self.total, self.stop_at, self.reports = 0.0, stop_at, list[int]()

    def step(self, number: int, rng: torch.Generator) -> dict[str, torch.Tensor]:
        self.total += torch.rand((), generator=rng).item()
        if number == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"total": torch.tensor(self.total)}

    def state(self) -> dict[str, Any]:
        return {"total": self.total}

    def load(self, state: dict[str, Any]) -> None:
        self.total = state["total"]

    def report(self, folder: Path, number: int) -> None:
        self.reports.append(number)

    def converged(self) -> bool:
        return False


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole, broken, resumed = Sum(), Sum(stop_at=3), Sum()
    run(whole, steps=10, seed=1, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(broken, steps=10, seed=1, folder=tmp_path / "broken")
    assert run(resumed, steps=10, seed=1, folder=tmp_path / "broken").steps == 10
    assert resumed.total == whole.total


def test_a_finished_run_does_nothing_and_keeps_its_figures(tmp_path: Path) -> None:
    run(Sum(), steps=4, seed=0, folder=tmp_path)
    before, again = checkpoint.load(tmp_path / "checkpoint.pt"), Sum()
    progress = run(again, steps=4, seed=0, folder=tmp_path)
    assert progress == Progress(4, before["minutes"])
    assert again.reports == [] and again.total > 0
    assert checkpoint.load(tmp_path / "checkpoint.pt") == before


def test_checkpoints_and_reports_come_every_so_often(tmp_path: Path) -> None:
    trainer = Sum()
    run(trainer, steps=7, seed=0, folder=tmp_path, save_every=3)
    assert trainer.reports == [3, 6, 7]


def test_the_time_limit_ends_the_run_with_its_state_put_away(tmp_path: Path) -> None:
    progress = run(Sum(), steps=10**9, seed=0, folder=tmp_path, max_minutes=0.002, save_every=10**9)
    assert 0 < progress.steps < 10**9
    assert checkpoint.load(tmp_path / "checkpoint.pt")["steps"] == progress.steps


def test_seeds_differ(tmp_path: Path) -> None:
    one, two = Sum(), Sum()
    run(one, steps=2, seed=0, folder=tmp_path / "0")
    run(two, steps=2, seed=1, folder=tmp_path / "1")
    assert one.total != two.total


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"trainer": os.system}, path)
    with pytest.raises(DataError, match="is not a checkpoint"):
        run(Sum(), steps=1, seed=0, folder=tmp_path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"a": 1})

    def fail(*_args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"a": 2})
    assert checkpoint.load(path) == {"a": 1}


def test_progress_adds_up_over_processes(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "checkpoint.pt", {"trainer": {"total": 0.0}, "steps": 2, "minutes": 5.0})
    progress = run(Sum(), steps=3, seed=0, folder=tmp_path)
    assert progress.steps == 3 and 5 < progress.minutes < 6
    assert Progress() == Progress(0, 0.0)
