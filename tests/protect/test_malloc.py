"""What is freed is kept: large arrays come without page faults the second time."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
if sys.argv[1] == "keep":
    from dadfi_fast.protect.malloc import tune_malloc
    tune_malloc()
def fill():
    for _ in range(20):
        parts = [np.ones(3_000_000, np.uint8) for _ in range(4)]
        del parts
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of taking and freeing 240 MB in a process of its own."""
    found = subprocess.run([sys.executable, "-c", SCRIPT, how], check=True, capture_output=True, text=True)
    return int(found.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it is for glibc")
def test_fewer_page_faults() -> None:
    assert faults("keep") <= max(50, faults("plain") // 10)
