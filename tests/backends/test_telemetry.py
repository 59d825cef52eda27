from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Runs where a name is looked up or a connection opened: both end the process.
NO_NETWORK = """
import os, socket
def refuse(*_args, **_kwargs):
    os._exit(99)
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
"""
BARE = "import openvino"
BACKEND = """
import sys
from pathlib import Path
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.registry import BACKENDS
toy = GeneratorFile("toy", Path(sys.argv[1]) / "fragile.onnx", None, "", 0.05, "s")
BACKENDS["openvino"]()(toy, threads=1)
"""
DEEPFAKE = """
from dadfi_fast.deepfakes.session import load
import sys
from pathlib import Path
load(Path(sys.argv[1]) / "fragile.onnx", threads=1)
"""
DETECTOR = """
from dadfi_fast.faces.detector import choose_detector
choose_detector()
"""


def run(code: str, home: Path, weights: Path) -> int:
    """Exit code of ``code`` with an empty home, not in CI (where OpenVINO is silent by itself)."""
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JENKINS_URL")}
    # Leave its sending thread the time to try.
    code = f"{NO_NETWORK}\n{code}\nimport time; time.sleep(0.5)"
    return subprocess.run(
        [sys.executable, "-c", code, str(weights)], env={**environment, "HOME": str(home)}, timeout=60
    ).returncode


@pytest.mark.skipif(sys.platform == "win32", reason="the home is another variable there")
@pytest.mark.parametrize("code", [BACKEND, DEEPFAKE, DETECTOR], ids=["backend", "deepfake", "detector"])
def test_openvino_does_not_call_home(tmp_path: Path, toy_weights: Path, code: str) -> None:
    assert run(code, tmp_path, toy_weights) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="the home is another variable there")
def test_it_would_if_it_were_not_kept_from_it(tmp_path: Path, toy_weights: Path) -> None:
    """When this fails OpenVINO has changed its ways, and `telemetry` may be needed no more."""
    run(BARE, tmp_path, toy_weights)
    assert list(tmp_path.iterdir())
