from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("times", [True, False])
def test_times_in_a_run(photos: Any, run: Any, tmp_path: Path, times: bool) -> None:
    source = photos({"a.jpg": None}) / "a.jpg"
    os.utime(source, ns=(10**18, 10**18))
    run(times=times)
    assert ((tmp_path / "out" / "a.jpg").stat().st_mtime_ns == 10**18) is times
    summary, _ = run(times=times)
    assert summary.done == 1
