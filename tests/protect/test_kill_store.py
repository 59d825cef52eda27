"""Killed at any moment while it writes to S3, and started again: every file whole, none missing, none done twice."""

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

from dadfi_fast.protect.manifest import NAME
from dadfi_fast.storage.paths import RemotePath, parse_url

PHOTOS = 60
#: Seconds after which a run that has written nothing is taken for one that never will.
PATIENCE = 120

#: A run with an attack that takes its time, so that there is a moment to be killed in; groups of four.
SCRIPT = """
import sys, time
import numpy as np
from dadfi_fast.attacks.base import Attack
from dadfi_fast.faces.none import Whole
from dadfi_fast.protect import commit
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.pipeline import protect
from dadfi_fast.storage.paths import parse_path
from dadfi_fast.types import Budget

class Slow(Attack):
    def run(self, crops):
        time.sleep(0.1 * len(crops))
        return np.full_like(crops, self.budget.eps)

commit.GROUP = 4
out = parse_path(sys.argv[2])
config = ProtectConfig(sources=(sys.argv[1],), out=out, detector="none", workers=2, batch=2, verify=0)
print("ready", flush=True)
summary = protect(config, detector=Whole(), attack=Slow(Budget()), facts=Facts(config.fingerprint, "toy", "toy"))
print(summary.written, summary.done, flush=True)
"""


@pytest.mark.slow
@pytest.mark.extras("s3")
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_again_and_again(s3: str, photos: Callable[..., Path]) -> None:
    names = [f"{n % 4}/{n:02}.jpg" for n in range(PHOTOS)]
    source, out = photos(dict.fromkeys(names)), parse_url(f"{s3}/out")
    command = [sys.executable, "-c", SCRIPT, str(source), str(out)]
    moments, kills = random.Random(5), 0
    there: dict[str, object] = {}
    for number in range(4):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            if number:  # the first by the clock alone, so before anything is written where that takes long
                _wait_for_more(out, len(there))
            time.sleep(moments.uniform(0, 0.6))
            kills += process.poll() is None
            process.kill()
        now = _written(out)
        assert {key: now.get(key) for key in there} == there  # nothing is written a second time
        there = now
    done = subprocess.run(command, check=True, capture_output=True)
    assert kills >= 3 and 0 < len(there) < PHOTOS
    assert done.stdout.split()[1:] == [str(PHOTOS - len(there)).encode(), str(len(there)).encode()]
    rows = [json.loads(line) for line in (out / NAME).read_bytes().splitlines()]
    assert sorted(row["source"] for row in rows) == sorted(names) and {row["status"] for row in rows} == {"written"}
    files = {key[len(out.key) + 1 :] for key in out.store.system.find(out.key)}
    assert files == {*names, NAME}
    for row in rows:
        assert hashlib.sha256((out / row["target"]).read_bytes()).hexdigest() == row["sha256_target"]


def _written(out: RemotePath) -> dict[str, object]:
    """The photos that are there, and when they came."""
    objects = out.store.system.find(out.key, detail=True, refresh=True)
    return {key: info["LastModified"] for key, info in objects.items() if key.endswith(".jpg")}


def _wait_for_more(out: RemotePath, than: int) -> None:
    end = time.monotonic() + PATIENCE
    while len(_written(out)) <= than:
        assert time.monotonic() < end, "the run writes nothing"
        time.sleep(0.02)
