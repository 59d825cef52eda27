from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILES = {
    "dadfi_fast/__init__.py": "",
    "dadfi_fast/errors.py": "X = 1\n",
    "dadfi_fast/a/__init__.py": "",
    "dadfi_fast/a/low.py": "from dadfi_fast import errors\n",
    "dadfi_fast/a/middle.py": "from dadfi_fast.a import low\n",
    "dadfi_fast/a/high.py": "def f():\n    from dadfi_fast.a.middle import low\n    import dadfi_fast.a.low\n",
    "cli/main.py": "from dadfi_fast.a.high import f\n",
    "tests/test_a.py": "\n\n\n",
    "docs/a.md": "not counted\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    return tmp_path


def test_what_is_counted(root: Path, checkout: Path) -> None:
    command = [sys.executable, str(root / "tools" / "house_stats.py"), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["product", "7", "files", "7", "lines"] in rows and ["tests", "1", "files", "3", "lines"] in rows
    assert ["a", "3", "3", "3"] in rows  # low <- middle <- high, and low <- high
    assert ["cli", "1", "1", "0"] in rows


def test_no_modules_import_each_other_in_a_circle(root: Path) -> None:
    """Imports inside of functions count too: who needs whom must have an order."""
    if not (root / ".git").exists():
        pytest.skip("the files are listed by git, and this is no checkout")
    command = [sys.executable, str(root / "tools" / "house_stats.py"), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
