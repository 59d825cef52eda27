"""Killed at any moment and started again: every output whole, none missing, none done twice."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

PHOTOS = 60

#: A run with an attack that takes its time, so that there is a moment to be killed in.
SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from dadfi_fast.attacks.base import Attack
from dadfi_fast.faces.none import Whole
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.pipeline import protect
from dadfi_fast.types import Budget

class Slow(Attack):
    def run(self, crops):
        time.sleep(0.004 * len(crops))
        return np.full_like(crops, self.budget.eps)

config = ProtectConfig(
    sources=(sys.argv[1],), out=Path(sys.argv[2]), detector="none", workers=2, batch=2, verify=0,
    again=True,  # a photo that is met by three kills does not fail
)
print("ready", flush=True)
protect(config, detector=Whole(), attack=Slow(Budget()), facts=Facts(config.fingerprint, "toy", "toy"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_again_and_again(photos: Callable[..., Path], tmp_path: Path) -> None:
    names = [f"{n % 4}/{n:02}.jpg" for n in range(PHOTOS)]
    source, out = photos(dict.fromkeys(names)), tmp_path / "out"
    command = [sys.executable, "-c", SCRIPT, str(source), str(out)]
    moments = random.Random(5)
    kills = 0
    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            time.sleep(moments.uniform(0.005, 0.12))
            kills += process.poll() is None
            process.kill()
    assert kills >= 3
    subprocess.run(command, check=True, capture_output=True)
    rows = [json.loads(line) for line in (out / "dadfi-manifest.jsonl").read_text().splitlines()]
    assert sorted(row["source"] for row in rows) == sorted(names)
    assert {row["status"] for row in rows} == {"written"}
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == sorted([*names, "dadfi-manifest.jsonl"])
    for row in rows:
        content = (out / row["target"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256_target"]
        with Image.open(out / row["target"]) as image:
            image.load()
