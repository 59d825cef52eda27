"""``tools/fuzz.py``: whole files go through, damaged ones fail as they should, and what is too much is found."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs limits that only Unix has")
FILE = Path(__file__).parents[2] / "tools" / "fuzz.py"
#: Stands in for runs: the first one dies at a photo, the second one sleeps at another, the third one ends.
SCRIPT = """
import json, os, pathlib, signal, sys, time
out = pathlib.Path(sys.argv[1])
with (out / "starts").open("a") as file:
    file.write("x")
start = (out / "starts").stat().st_size
print("ready", flush=True)
if start < 3:
    name = ("crash.jpg", "hang.jpg")[start - 1]
    (out / ".dadfi-under-way").write_text(json.dumps([name, "decode", 1, 1]) + chr(10))
    time.sleep(60) if start == 2 else os.kill(os.getpid(), signal.SIGSEGV)
deadly = "DeadlyPhoto"
errors = {"a.jpg": None, "crash.jpg": deadly, "hang.jpg": deadly, "raw.jpg": "ValueError", "z.jpg": "PhotoError"}
rows = [
    {"source": name, "status": "failed" if kind else "written", "seconds": len(name) / 10,
     "error": kind and {"hop": "detect", "type": kind, "message": "raw"}}
    for name, kind in errors.items()
]
(out / "dadfi-manifest.jsonl").write_text(chr(10).join(map(json.dumps, rows)))
"""


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("fuzz", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    return module


def test_damaged_files_are_rows_and_cost_little(tmp_path: Path) -> None:
    """In a process of its own: Linux counts what the process that starts a child holds as the child's, too."""
    options = ["48", "--seed", "7", "--work", str(tmp_path / "work"), "--json", str(tmp_path / "report.json")]
    done = subprocess.run([sys.executable, str(FILE), *options], capture_output=True, text=True)
    said, report = done.stdout, json.loads((tmp_path / "report.json").read_text())
    assert done.returncode == 0, said + done.stderr
    assert report["files"] == sum(report["statuses"].values()) == 48
    assert report["statuses"]["failed"] > 10 and report["statuses"]["written"] > 3
    assert 20 < report["peak_mib"] < 1024 and report["slowest"][1] < 5 and report["starts"] == 1
    assert said.startswith("48 files: ")


def test_whole_files_go_through(fuzz: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    seeds = fuzz.seeds()
    for name, data in seeds.items():
        (tmp_path / "in" / name).write_bytes(data)
    command = [sys.executable, str(FILE), "--child", str(tmp_path / "in"), str(tmp_path / "out"), str(2 << 30)]
    report = fuzz.protected(tmp_path / "in", tmp_path / "out", command, seconds=10)
    assert report.clean and report.statuses == {"written": len(seeds)}
    suffixes = {Path(name).suffix for name in seeds}
    assert suffixes >= {".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".jp2", ".avif"}


def test_the_same_seed_makes_the_same_files(fuzz: ModuleType) -> None:
    seeds = fuzz.seeds()
    files = [fuzz.mutated(number, 3, seeds) for number in range(50)]
    assert files == [fuzz.mutated(number, 3, seeds) for number in range(50)]
    assert files != [fuzz.mutated(number, 4, seeds) for number in range(50)]
    assert sum(data != seeds[name.partition("-")[2]] for name, data in files) > 45


def test_crashes_hangs_and_errors_of_others_are_told(fuzz: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "crash", "hang", "lost", "raw", "z"):
        (tmp_path / "in" / f"{name}.jpg").write_bytes(b"")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "out")]
    report = fuzz.protected(tmp_path / "in", tmp_path / "out", command, seconds=0.3)
    assert (report.crashes, report.hangs, report.missing) == (["crash.jpg"], ["hang.jpg"], ["lost.jpg"])
    assert report.foreign == {"raw.jpg": "detect: ValueError: raw"} and report.ended is None
    assert report.statuses == {"written": 1, "failed": 4} and report.starts == 3 and not report.clean
    *told, last = fuzz._lines(report)
    assert told == [
        "6 files: 4 failed, 1 written",
        "crash: crash.jpg",
        "hang: hang.jpg",
        "not our error: raw.jpg: detect: ValueError: raw",
        "no row: lost.jpg",
    ]
    assert last.startswith("3 starts, at most ") and last.endswith("slowest crash.jpg with 0.90 s")


def test_a_run_that_ends_with_an_error_is_told(fuzz: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"")
    command = [sys.executable, "-c", "raise SystemExit('the whole run')"]
    report = fuzz.protected(tmp_path / "in", tmp_path / "out", command, seconds=1)
    assert report.ended == "error:\nthe whole run" and report.missing == ["a.jpg"] and not report.clean
