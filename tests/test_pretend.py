"""Nothing is left behind where the work is done on another device than the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_nothing_is_left_on_the_processor(root: Path) -> None:
    # A process of its own: PyTorch counts its devices once, and other tests go by what there is.
    files = [f"tests/{folder}/on_pretended.py" for folder in ("training", "contracts")]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    run = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0 and " passed" in run.stdout, run.stdout + run.stderr
