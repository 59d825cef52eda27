from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dadfi_fast.backends.openvino_core import core

pytest.importorskip("openvino")

#: Networks come and go in the order that breaks Ctrl-C where each has a core of its own.
SCRIPT = """
import os, signal, sys
from dadfi_fast.deepfakes.session import load
kept = [load(sys.argv[1], threads=1) for _ in range(3)]
while kept:
    kept.pop(0)
try:
    for _ in range(50):
        os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_there_is_one() -> None:
    assert core() is core()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such stacks")
def test_signals_still_work_after_networks_have_gone(toy_weights: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(toy_weights / "fragile.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
