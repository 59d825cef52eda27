"""``tools/compare_speed.py``, on two checkouts that do nothing but take their time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from compare_speed import median_interval

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="CPU time of a process is from wait4")
FILE = Path(__file__).parents[2] / "tools" / "compare_speed.py"
#: Takes ``start`` ms of CPU time, and ``each`` ms a photo in a child process, and leaves a manifest. It may fail.
PROGRAM = """
import json, pathlib, subprocess, sys
BURN = "import sys, time\\nwhile time.process_time() < float(sys.argv[1]) / 1000: pass"
photos, rest = sys.argv[2:sys.argv.index("--out")], sys.argv[sys.argv.index("--out") + 1:]
assert sys.argv[1] == "protect" and rest[1:4] == ["--check", "0", "--quiet"], sys.argv
subprocess.run([sys.executable, "-S", "-c", BURN, str({start} + {each} * len(photos))], check=True)
out = pathlib.Path(rest[0])
out.mkdir()
status = ["written", "failed"]["--fail" in rest]
rows = [json.dumps({{"source": photo, "status": status}}) for photo in photos]
(out / "dadfi-manifest.jsonl").write_text("\\n".join(rows) + "\\n")
raise SystemExit("this fails" if "--die" in rest else 0)
"""


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Two checkouts, of which the second one takes twice as long a photo, and four photos."""
    for name, each in (("before", 40), ("after", 80)):
        package = tmp_path / name / "dadfi_fast" / "cli"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(PROGRAM.format(start=0, each=each))
    (tmp_path / "photos").mkdir()
    for number in range(4):
        (tmp_path / "photos" / f"{number}.jpg").touch()
    return [str(tmp_path / name) for name in ("before", "after", "photos")]


def call(folders: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """The tool, with the Python of these tests for both checkouts."""
    pythons = ["--before-python", sys.executable, "--after-python", sys.executable]
    return subprocess.run([sys.executable, str(FILE), *folders, *pythons, *options], capture_output=True, text=True)


def test_the_one_that_takes_longer_is_seen(folders: list[str], tmp_path: Path) -> None:
    ended = call(folders, "--times", "2", "--json", str(tmp_path / "runs.json"))
    assert ended.returncode == 0, ended.stderr
    runs = json.loads((tmp_path / "runs.json").read_text())
    assert [run["checkout"] for run in runs] == ["before", "after"] * 2 + ["after", "before"] * 2
    assert [run["photos"] for run in runs] == [4, 4, 1, 1] * 2
    a_photo = next(line for line in ended.stdout.splitlines() if line.startswith("a photo")).split()
    before, after, ratio = (float(word) for word in a_photo[3:6])
    assert 35 < before < 60 and 70 < after < 120 and 1.5 < ratio < 2.5, ended.stdout  # 40 and 80 ms in child processes
    assert all(run["statuses"] == {"written": run["photos"]} for run in runs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--after-options=--die",), "after ended with exit code 1: this fails"),
        (("--before-options=--fail",), "they did not do the same"),
        (("--", "--die"), "ended with exit code 1"),
    ],
)
def test_runs_that_do_not_compare(folders: list[str], options: tuple[str, ...], said: str) -> None:
    ended = call(folders, "--times", "1", *options)
    assert ended.returncode == 1 and said in ended.stderr and not ended.stdout


@pytest.mark.parametrize(
    ("n", "low", "high", "sure"),
    [(1, 0, 0, 0.0), (5, 0, 4, 0.9375), (7, 0, 6, 0.984375), (9, 1, 7, 0.9609375), (20, 5, 14, 0.95861)],
)
def test_the_interval_of_a_median(n: int, low: int, high: int, sure: float) -> None:
    """The numbers of values below and above are those of tables of the sign test."""
    interval = median_interval([float(value) for value in range(n)])
    assert interval[:3] == ((n - 1) / 2, low, high) and interval[3] == pytest.approx(sure, abs=1e-5)
