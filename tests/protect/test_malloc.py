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
        parts = [np.ones(int(sys.argv[2]), np.uint8) for _ in range(4)]
        del parts
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, size: int) -> int:
    """Page faults of taking and freeing 80 blocks in a process of its own."""
    process = subprocess.run([sys.executable, "-c", SCRIPT, how, str(size)], check=True, capture_output=True, text=True)
    return int(process.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it is for glibc")
@pytest.mark.parametrize("size", [3_000_000, 36_000_000])  # 1 and 12 megapixels
def test_fewer_page_faults(size: int) -> None:
    assert faults("keep", size) <= max(50, faults("plain", size) // 10)
