from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from dadfi_fast.errors import DiskError
from dadfi_fast.evaluate.experiment import Progress, Row, Setup
from dadfi_fast.evaluate.result_cache import Unit, fingerprint, measured


class Work:
    """Two pieces that note when they are measured."""

    def __init__(self, out: Path | None, **changes: Any) -> None:
        self.done: list[str] = []
        self.said: list[str] = []
        self.planned: list[int] = []
        progress = Progress(plan=self.planned.append, note=self.said.append)
        self.setup = Setup((), out=out, progress=progress, **changes)

    def run(self, *, fail: str = "", **facts: Any) -> list[Row]:
        units = [Unit(name, {"of": name, **facts}, self._measure(name, fail)) for name in ("one", "two")]
        return measured("trial", units, self.setup, pictures=5)

    def _measure(self, name: str, fail: str) -> Callable[[], Iterator[Row]]:
        def measure() -> Iterator[Row]:
            if name == fail:
                raise KeyboardInterrupt
            self.done.append(name)
            yield {"method": name, "none": math.nan}

        return measure


def test_what_is_finished_is_not_measured_again(tmp_path: Path) -> None:
    first, second = Work(tmp_path), Work(tmp_path)
    rows = first.run()
    assert [row["method"] for row in rows] == [row["method"] for row in second.run()] == ["one", "two"]
    assert (first.done, second.done) == (["one", "two"], [])
    assert (first.planned, second.planned) == ([20], [0])  # each piece protects five pictures and checks them
    assert math.isnan(second.run()[0]["none"])
    assert not first.said and "taken from" in second.said[0] and "one, two" in second.said[0]


def test_a_run_that_was_ended_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Work(tmp_path).run(fail="two")
    again = Work(tmp_path)
    again.run()
    assert again.done == ["two"] and again.planned == [10]


@pytest.mark.parametrize("torn", ['{"key": "', "null\n", '{"key": "k"}\n', "[]\n"])
def test_a_line_that_is_none_is_passed_over(tmp_path: Path, torn: str) -> None:
    Work(tmp_path).run()
    path = tmp_path / "finished" / "trial.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n" + torn)
    second, third = Work(tmp_path), Work(tmp_path)
    second.run()
    third.run()
    assert (second.done, third.done) == (["two"], [])
    assert all(json.loads(line) is not None for line in path.read_text().splitlines()[2:])


def test_other_facts_are_measured_anew(tmp_path: Path) -> None:
    Work(tmp_path).run(n=8)
    other = Work(tmp_path)
    other.run(n=9)
    assert other.done == ["one", "two"]


def test_the_command_alone_makes_no_difference() -> None:
    assert fingerprint({"a": [{"n": 1, "command": "x"}]}) == fingerprint({"a": [{"n": 1, "command": "y"}]})
    assert fingerprint({"n": 1}) != fingerprint({"n": 2})


def test_fresh_measures_everything(tmp_path: Path) -> None:
    Work(tmp_path).run()
    again = Work(tmp_path, fresh=True)
    again.run()
    assert again.done == ["one", "two"]


def test_nothing_is_kept_where_there_is_no_folder() -> None:
    assert len(Work(None).run()) == 2


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "finished").write_text("in the way")
    with pytest.raises(DiskError, match="--out"):
        Work(tmp_path).run()
