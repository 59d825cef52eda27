"""``tools/kills.py``: nothing is lost, and what would be is counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="it looks up open files in /proc"),
    pytest.mark.slow,
]
FILE = Path(__file__).parents[2] / "tools" / "kills.py"
#: Calls the tool after a change to the code that it tries.
SCRIPT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("kills", sys.argv.pop(1))
kills = importlib.util.module_from_spec(spec)
sys.modules["kills"] = kills
spec.loader.exec_module(kills)
{change}
raise SystemExit(kills.main(sys.argv[1:]))
"""
#: Rows are not flushed, and the disk has nothing but what was; files do not come; temporary files stay; nothing counts
#: as done. With kills and cuts.
CHANGES = {
    "files_without_row": (
        "from dadfi_fast.protect.manifest import Manifest\nManifest.flush = lambda self: None\n"
        "kills.Disk._content = lambda self, sure, written: sure\n"
        "from dadfi_fast.protect import commit\ncommit.GROUP = 4",  # renames from early on
        0,
        10,
    ),
    "rows_without_file": (
        "from dadfi_fast.storage.disk import OutFolder\n"
        "OutFolder.commit = lambda self, temporary, target: self.discard(temporary)",
        1,
        0,
    ),
    "temporary_files": (
        "from dadfi_fast.storage.disk import OutFolder\nOutFolder.remove_stale = lambda self: None",
        4,
        0,
    ),
    "redone": (
        "from dadfi_fast.protect import resume\nresume._is_done = lambda *_: False\n"
        "resume._by_policy = lambda entry, *_: entry",
        6,
        0,
    ),
}


def report(change: str, tmp_path: Path, *, kills: int, cuts: int) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of a call."""
    table = tmp_path / "report.json"
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT.format(change=change), str(FILE)]
    numbers = ["--kills", str(kills), "--cuts", str(cuts), "--photos", "40", "--json", str(table)]
    done = subprocess.run([*command, *numbers], capture_output=True, text=True, timeout=300)
    assert table.exists(), done.stderr
    return done.returncode, json.loads(table.read_text())


def test_nothing_is_lost(tmp_path: Path) -> None:
    code, counts = report("", tmp_path, kills=6, cuts=6)
    assert code == 0, counts
    assert (counts["kills"], counts["cuts"]) == (6, 6) and counts["found"] > 0
    assert counts["photos"] == 40 * counts["runs_to_the_end"]


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_lost_is_counted(name: str, tmp_path: Path) -> None:
    change, kills, cuts = CHANGES[name]
    code, counts = report(change, tmp_path, kills=kills, cuts=cuts)
    assert code == 1 and counts[name] > 0, counts
