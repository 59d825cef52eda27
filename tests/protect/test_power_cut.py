"""After a power cut, at any moment, every file under a final name has its row, and the next run does the rest.

What the disk is sure to hold is what was flushed (fsync): the rest of a manifest may be there, be zeros, or be missing,
and a rename that was made may be undone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.protect.manifest import NAME
from dadfi_fast.storage.disk import OutFolder
from tests.protect.conftest import Run, rows

PHOTOS = 50


class Recorded:
    """What the disk holds of the manifest and of renamed files, moment by moment."""

    def __init__(self, out: Path) -> None:
        self.out, self.flushed, self.flushes = out, b"", 0
        self.moments: list[tuple[bytes, bytes, dict[str, bytes]]] = []  # rows on the disk, rows written, files
        self._files: dict[str, bytes] = {}

    def fsync(self, descriptor: int) -> None:
        manifest = self.out / NAME
        if manifest.exists() and os.path.samestat(os.fstat(descriptor), manifest.stat()):
            self.flushed, self.flushes = manifest.read_bytes(), self.flushes + 1

    def renamed(self, target: str) -> None:
        self._files[target] = (self.out / target).read_bytes()
        self.moments.append((self.flushed, (self.out / NAME).read_bytes(), dict(self._files)))


@pytest.fixture
def recorded(
    photos: Callable[..., Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Recorded, int]:
    """A whole run."""
    photos({f"{n % 3}/{n:02}.jpg": None for n in range(PHOTOS)})
    disk = Recorded(tmp_path / "out")
    fsync, commit = os.fsync, OutFolder.commit

    def flush(descriptor: int) -> None:
        fsync(descriptor)
        disk.fsync(descriptor)

    def rename(out: OutFolder, temporary: Path, target: str) -> None:
        commit(out, temporary, target)
        disk.renamed(target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", flush)
        patch.setattr(OutFolder, "commit", rename)
        run()
    return disk, disk.flushes


def test_rows_are_on_the_disk_before_their_files_have_names(recorded: tuple[Recorded, int]) -> None:
    disk, flushes = recorded
    assert len(disk.moments) == PHOTOS
    for flushed, _, files in disk.moments:
        assert files.keys() <= {json.loads(line)["target"] for line in flushed.splitlines()}
    assert flushes < PHOTOS / 2  # in groups


@pytest.mark.parametrize("moment", [0, 31, PHOTOS - 1])
@pytest.mark.parametrize("state", ["flushed", "written", "torn", "zeros", "renames undone"])
def test_the_next_run_does_the_rest(
    recorded: tuple[Recorded, int], moment: int, state: str, run: Run, tmp_path: Path
) -> None:
    disk, _ = recorded
    flushed, written, files = disk.moments[moment]
    if state == "renames undone":
        files = dict(list(files.items())[: max(0, len(files) - 20)])
    shutil.rmtree(disk.out)
    content = {"flushed": flushed, "written": written, "torn": flushed + b'{"source": "1/9'}
    content |= {"zeros": flushed + b"\0" * 700, "renames undone": flushed}
    for name, data in (
        {NAME: content[state], ".dadfi-dadfi-manifest.open": b"", "1/.dadfi-9-1.partial": b"x"} | files
    ).items():
        (disk.out / name).parent.mkdir(parents=True, exist_ok=True)
        (disk.out / name).write_bytes(data)
    summary, _ = run()
    assert (summary.done, summary.written) == (len(files), PHOTOS - len(files))
    records: list[dict[str, Any]] = rows(disk.out)
    assert len(records) == len({row["source"] for row in records}) == PHOTOS
    for row in records:
        assert hashlib.sha256((disk.out / row["target"]).read_bytes()).hexdigest() == row["sha256_target"]
    names = {path.relative_to(disk.out).as_posix() for path in disk.out.rglob("*") if path.is_file()}
    assert names == {NAME, *(row["target"] for row in records)}
