"""Rows of figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dadfi_fast import __version__
from dadfi_fast.bench import rows
from dadfi_fast.bench.rows import Row, append, checkout, package, ratio, summarise


def row(rates: list[float]) -> Row:
    return summarise("disk", "openvino-cpu f32", rates, unit="images/s", driver="x 1", config={"count": 2})


def test_quantiles_of_the_rounds() -> None:
    stats = row([30.0, 10.0, 50.0, 20.0, 40.0, 60.0])
    assert (stats.p20, stats.p50, stats.p80, stats.n) == (20.0, 35.0, 50.0, 6)


def test_a_single_round_has_no_spread() -> None:
    stats = row([7.0])
    assert (stats.p20, stats.p50, stats.p80, stats.n) == (7.0, 7.0, 7.0, 1)


def test_a_ratio_is_taken_round_by_round() -> None:
    stats = ratio("a / b", [10.0, 1.0, 6.0], [5.0, 0.5, 3.0], provider="a / b", config={})
    assert (stats.p20, stats.p50, stats.p80, stats.unit) == (2.0, 2.0, 2.0, "ratio")  # the slow round slowed both


def test_rows_have_the_promised_form_and_are_appended(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    append(file, [row([1.0]), row([2.0])])
    append(file, [row([3.0])])
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [each["p50"] for each in records] == [1.0, 2.0, 3.0]
    names = {"case", "provider", "unit", "p20", "p50", "p80", "n", "config", "machine", "driver", "commit"}
    assert all(set(each) == names for each in records)
    assert records[0]["machine"]["cores"] >= 1
    assert records[0]["commit"]


def test_package_has_its_version_where_there_is_one() -> None:
    assert re.fullmatch(r"numpy \d+\.\d+.*", package("numpy"))
    assert package("no-such-package") == "no-such-package"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"rev-parse": "HERE", "describe": "abc1234-dirty"}, "abc1234-dirty"),
        ({"rev-parse": "/elsewhere", "describe": "abc1234"}, f"version {__version__}"),  # a repository around it
        ({"rev-parse": "HERE", "describe": ""}, f"version {__version__}"),  # no commit yet
        ({"rev-parse": "", "describe": "abc1234"}, f"version {__version__}"),  # no repository, or no git
    ],
)
def test_commit_of_the_checkout(monkeypatch: pytest.MonkeyPatch, answers: dict[str, str], expected: str) -> None:
    monkeypatch.setattr(rows, "_git", lambda root, word, *_: answers[word].replace("HERE", str(root)))
    assert checkout.__wrapped__() == expected


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rows._git(tmp_path, "describe") == ""
