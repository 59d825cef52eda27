"""What the tests of the kernels share: the library that runs them on a CPU."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from host import build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Built once, also where several processes run tests: their folders lie in one."""
    folder = tmp_path_factory.getbasetemp()
    return build(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
