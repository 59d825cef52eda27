"""Ctrl-C and SIGTERM end a run within two seconds, whatever a photo does to it, and what is complete stays."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.worker import WorkerContext
from dadfi_fast.protect.interrupt import DEADLINE, GRACE, SIGNALS, Stop
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.under_way import DEATHS, MOST, NAME, noted
from dadfi_fast.types import Budget, Face, UInt8
from tests.protect.conftest import MIDDLE, Boxes, Run, Stripes, rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent to one process there")

PHOTOS = [f"{letter}.jpg" for letter in "abcdef"]
#: Seconds that the end may take: two, and more on a machine that is busy with other things.
LIMIT = 4.0
#: So long the photo takes that nobody waits for.
FOREVER = 60


class Hanging(Boxes):
    """Never comes back from a photo that is one pixel wider than the others.

    Args:
        alone: the thread lets no other one of its process run.
        told: a file that is made then.
    """

    def __init__(self, told: Path, *, alone: bool) -> None:
        super().__init__(*MIDDLE.boxes)
        self._told, self._alone = told, alone

    def find(self, pixels: UInt8) -> list[Face]:
        if pixels.shape[1] == 97:
            self._told.touch()
            if self._alone:
                sum(range(10**11))
            time.sleep(FOREVER)
        return super().find(pixels)


def context(config: ProtectConfig) -> WorkerContext:
    """What workers and runs work with here."""
    assert isinstance(config.out, Path)
    detector = Hanging(config.out.parent / "told", alone=config.folder.name == "alone")
    return WorkerContext(detector, Stripes(Budget(config.generated)), Facts(config.fingerprint, "toy", "toy"))


#: A run as the command makes it, by one process or by two.
SCRIPT = """
import sys
from pathlib import Path
from tests.protect.test_interrupt import context
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.processes import Processes
from dadfi_fast.protect.distributed.run import protect_distributed
from dadfi_fast.protect.interrupt import deadline, leave
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.pipeline import protect

if __name__ == "__main__":
    processes, workers = int(sys.argv[3]), int(sys.argv[4])
    config = ProtectConfig(
        sources=(sys.argv[1],), out=Path(sys.argv[2]), detector="boxes", workers=workers, batch=1, verify=0
    )
    parts = context(config)
    with deadline():
        try:
            if processes == 1:
                summary = protect(config, detector=parts.detector, attack=parts.attack, facts=parts.facts)
            else:
                pool = Processes([config] * processes, context)
                meter = Meter(compute=1, disk=1)
                try:
                    summary = protect_distributed(pool, config, facts=parts.facts, meter=meter)
                finally:
                    pool.close()
            print(summary.interrupted, *summary.notes, flush=True)
        except KeyboardInterrupt:
            print("True", flush=True)
    leave(130)
    sys.exit(130)
"""


@pytest.fixture
def source(photos: Callable[..., Path], encoded: Callable[..., bytes]) -> Path:
    folder = photos(dict.fromkeys(PHOTOS))
    (folder / "d.jpg").write_bytes(encoded(size=(48, 97)))
    return folder


def wait_for(path: Path) -> None:
    """Until the file is there."""
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("alone", "processes", "workers", "codes", "written"),
    [
        (False, 1, 2, {130}, set(PHOTOS) - {"d.jpg"}),
        (False, 1, 1, {130}, None),
        (True, 1, 2, {-signal.SIGKILL}, None),  # Python has no turn any more
        (False, 2, 1, {130, -signal.SIGKILL}, None),  # where the machine is busy, the watchdog may be first
        (True, 2, 1, {130, -signal.SIGKILL}, None),
    ],
    ids=["one of two threads", "the only thread", "all of Python", "in a worker", "all of a worker"],
)
def test_a_run_ends_in_time(
    alone: bool,
    processes: int,
    workers: int,
    codes: set[int],
    written: set[str] | None,
    number: int,
    source: Path,
    run: Run,
    tmp_path: Path,
) -> None:
    out = tmp_path / ("alone" if alone else "out")
    command = [sys.executable, "-c", SCRIPT, str(source), str(out), str(processes), str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(tmp_path / "told")
        start = time.monotonic()
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=FOREVER)
        took = time.monotonic() - start
    assert took < LIMIT, stderr
    assert process.returncode in codes, stderr
    if process.returncode == 130:
        assert stdout.startswith("True")
    else:
        assert "interrupted, and ended at once" in stderr
    if written is not None:
        assert {row["source"] for row in rows(out)} == written
        assert "1 photo that was under way was left" in stdout
        assert not [path for path in out.iterdir() if path.name.startswith(".")]
    before = {path: path.stat().st_ino for path in out.glob("*.jpg")}
    summary, manifest_rows = run(out=out)  # a detector that does not hang
    assert set(manifest_rows) == set(PHOTOS) and {row["status"] for row in manifest_rows.values()} == {"written"}
    assert summary.done == len(before) and {path: path.stat().st_ino for path in before} == before
    for row in manifest_rows.values():
        assert hashlib.sha256((out / row["target"]).read_bytes()).hexdigest() == row["sha256_target"]
    assert {path.name for path in out.iterdir()} == {*PHOTOS, "dadfi-manifest.jsonl"}


def test_a_photo_does_not_die_of_interrupts(source: Path, run: Run, tmp_path: Path) -> None:
    """Three runs are ended from outside while they work on it, which would be three deaths if nobody had wished it."""
    out, told = tmp_path / "alone", tmp_path / "told"
    command = [sys.executable, "-c", SCRIPT, str(source), str(out), "1", "2"]
    for _ in range(MOST):
        told.unlink(missing_ok=True)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            wait_for(told)
            assert noted(out / NAME)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=FOREVER)
        assert process.returncode == -signal.SIGKILL and "interrupted, and ended at once" in stderr
        assert not (out / NAME).exists() and not (out / DEATHS).exists()
    _, manifest_rows = run(out=out)  # a detector that does not hang
    assert manifest_rows["d.jpg"]["status"] == "written"


def test_a_file_goes_with_the_process_alone_that_is_ended(tmp_path: Path) -> None:
    """The last one that was named, and none if the process ends by itself or takes its word back."""
    script = (
        "import signal, sys, time\nfrom pathlib import Path\n"
        "from dadfi_fast.protect.interrupt import deadline, removed_at_deadline\n"
        "folder, how = Path(sys.argv[1]), sys.argv[2]\nsignal.signal(signal.SIGINT, lambda *_: None)\n"
        "removed_at_deadline(folder / 'early')\n"
        "with deadline(0.2):\n"
        "    removed_at_deadline(folder / 'a much longer name')\n    removed_at_deadline(folder / 'last')\n"
        "    if how == 'taken back':\n        removed_at_deadline(None)\n"
        "    if how != 'ends':\n        signal.raise_signal(signal.SIGINT)\n        sum(range(10**11))\n"
    )
    names = {"early", "last", "a much longer name"}
    for how, code, left in (
        ("ends", 0, names),
        ("taken back", -signal.SIGKILL, names),
        ("is ended", -signal.SIGKILL, names - {"last"}),
    ):
        for name in names:
            (tmp_path / name).touch()
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path), how], capture_output=True, timeout=FOREVER)
        assert done.returncode == code, done.stderr
        assert {path.name for path in tmp_path.iterdir()} == left, how


def frames(count: int) -> bytes:
    """A GIF of so many frames, which are read one after the other to be counted."""
    head = b"GIF89a" + bytes((4, 0, 4, 0, 0x80, 0, 0)) + bytes(6)
    frame = b"!\xf9\x04\x04\x01\0\0\0,\0\0\0\0\x04\0\x04\0\0\x02\x05\x84\x8f\xa9\xcb\x05\0"
    return head + frame * count + b";"


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_the_command_ends_in_time(number: int, photos: Callable[..., Path], tmp_path: Path) -> None:
    folder, out = photos({"a.jpg": None, "b.gif": frames(3_000_000), "c.jpg": None}), tmp_path / "out"
    command = [sys.executable, "-m", "dadfi_fast.cli", "protect", str(folder), "--out", str(out), "--detector", "none"]
    with subprocess.Popen([*command, "--check", "0", "--workers", "2"], stderr=subprocess.PIPE, text=True) as process:
        note = out / ".dadfi-under-way"
        wait_for(note)
        for _ in range(1200):
            if b'"b.gif"' in note.read_bytes():
                break
            time.sleep(0.05)
        time.sleep(0.5)
        start = time.monotonic()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=FOREVER)
        assert time.monotonic() - start < LIMIT
    assert process.returncode == 130 and "interrupted" in stderr
    assert all(row["status"] in ("written", "copied") and row["source"] != "b.gif" for row in rows(out))


def test_the_end_comes_within_two_seconds() -> None:
    assert GRACE < DEADLINE < 2


def test_it_is_late_once_the_time_of_grace_is_over() -> None:
    stop = Stop(grace=0.05)
    assert not stop.is_late()
    stop.set()
    assert stop.is_set() and not stop.is_late()
    time.sleep(0.06)
    assert stop.is_late() and not stop.is_late(10)


def test_a_run_that_ends_by_itself_leaves_no_watchdog() -> None:
    script = (
        "import os, subprocess\nfrom dadfi_fast.protect.interrupt import deadline\n"
        "with deadline():\n    pass\n"
        "try:\n    os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError:\n    print('none')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=FOREVER)
    assert done.stdout == "none\n", done.stderr


def test_a_thread_that_was_left_writes_no_notes_any_more(tmp_path: Path) -> None:
    """Its descriptor may be another file by then."""
    from dadfi_fast.protect.job import PhotoJob
    from dadfi_fast.protect.results import Entry
    from dadfi_fast.protect.under_way import UnderWay

    notes = UnderWay(tmp_path)
    other: list[Any] = []

    def work(_: PhotoJob) -> None:
        notes.close()
        other.append((tmp_path / "other").open("wb"))

    notes.during("decode", work)(PhotoJob(Entry(tmp_path / "a.jpg", "a.jpg", "a.jpg", 1, 2)))
    with other[0]:
        assert os.fstat(other[0].fileno()).st_size == 0


def test_what_is_staged_too_late_is_removed(tmp_path: Path) -> None:
    from dadfi_fast.errors import PhotoError
    from dadfi_fast.storage.disk import OutFolder

    out = OutFolder(tmp_path / "out")
    out.close()
    with pytest.raises(PhotoError, match="over"):
        out.stage("a.jpg", b"x")
    assert list((tmp_path / "out").iterdir()) == []


def test_rows_of_the_manifest_are_whole_lines(source: Path, tmp_path: Path) -> None:
    """Ended from outside, the manifest can be read by anybody."""
    out = tmp_path / "alone"
    command = [sys.executable, "-c", SCRIPT, str(source), str(out), "1", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(tmp_path / "told")
        process.terminate()
        process.wait(FOREVER)
    for line in (out / "dadfi-manifest.jsonl").read_text().splitlines():
        assert json.loads(line)["source"] in PHOTOS
