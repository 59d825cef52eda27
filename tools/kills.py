"""Kill runs of protect at random moments, cut their power, start them again, and count what was lost.

    python tools/kills.py [--kills 200] [--cuts 50] [--seed 0] [--photos 60] [--work DIR] [--json FILE]

A kill is a SIGKILL. After a power cut the disk is sure to hold what was flushed (fsync), and no more: the operations
of a run are recorded up to a random one of them, and a folder is made as the disk may then look. What was written
without a flush is there, missing, a part of itself or zeros; names that were given, changed or removed since their
folder was last flushed are so up to a random one, or each of them by chance.

The photos are small and the perturbation costs nothing, so that a run takes a second. After each kill or cut the files
under final names are compared with the rows. After a few the run is let through to its end. Counted are: files without
their row, rows without their file, results that were written once more though they were there with their row, and
temporary files at the end. Exit code 1: one of these is not 0. Unix only.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from dadfi_fast.attacks.base import Attack
from dadfi_fast.faces.none import Whole
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.manifest import NAME, Facts
from dadfi_fast.protect.pipeline import protect
from dadfi_fast.types import Budget, Float32

#: Kills or cuts in a row, until a run is let through.
IN_A_ROW: Final = 5
#: Seconds that each crop takes, so that there are moments to be killed in.
PACE: Final = 0.004


class Lighter(Attack):
    """All the same brightness more."""

    def run(self, crops: Float32) -> Float32:
        time.sleep(PACE * len(crops))
        return np.full_like(crops, self.budget.eps)


@dataclass
class Report:
    """What came of it; all but the first five are to be 0."""

    kills: int = 0
    cuts: int = 0
    runs_to_the_end: int = 0
    photos: int = 0  # that these runs had written in all
    found: int = 0  # files that a run found there, from those that were killed or cut before it
    files_without_row: int = 0
    rows_without_file: int = 0
    redone: int = 0
    temporary_files: int = 0
    failed_runs: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost."""
        lost = self.files_without_row, self.rows_without_file, self.redone, self.temporary_files
        return not any(lost) and not self.failed_runs


def make_photos(folder: Path, count: int, rng: random.Random) -> None:
    """Small JPEGs, in three folders."""
    for number in range(count):
        pixels = np.frombuffer(rng.randbytes(12 * 16 * 3), np.uint8).reshape(12, 16, 3)
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize((64, 48)).save(buffer, "JPEG")
        path = folder / str(number % 3) / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())


def run(source: Path, out: Path) -> None:
    """One run."""
    config = ProtectConfig(
        sources=(str(source),), out=out, detector="none", workers=2, batch=2, verify=0,
        again=True,  # a photo that is met by three kills does not fail
    )  # fmt: skip
    facts = Facts(config.fingerprint, "kills", "kills")
    protect(config, detector=Whole(), attack=Lighter(Budget(config.generated)), facts=facts)


def forked(work: Callable[[], None], log: Path) -> int:
    """Call ``work`` in a process of its own, which has all loaded already; its number."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        log.write_text(traceback.format_exc())
    finally:
        os._exit(code)


class Disk:
    """Records what a process does to a folder, and makes a folder that looks as it may after a power cut.

    Args:
        root: the folder.
        image: where the other one is made.
        moment: the operation before which the power goes.
        rng: decides what is lost.
    """

    def __init__(self, root: Path, image: Path, moment: int, rng: random.Random) -> None:
        self._root, self._image, self._moment, self._rng = root, image, moment, rng
        self._lock = threading.RLock()
        self._count = 0
        self._flushed: dict[int, bytes] = {}  # inode -> what of its content is sure to be on the disk
        self._names: dict[str, int] = {}  # what was there before: file -> inode
        self._folders: set[str] = set()
        self._since: list[tuple[str, str, int]] = []  # names since then: what was done, to which, inode
        self._now: dict[str, int] = {}
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.is_dir():
                self._folders.add(name)
            else:
                self._names[name] = inode = path.stat().st_ino
                self._flushed[inode] = path.read_bytes()
        self._now.update(self._names)

    def record(self) -> None:
        """From now on; the process ends at the moment."""
        opened, write, fsync, replace, unlink, truncate = (
            os.open, os.write, os.fsync, os.replace, os.unlink, os.ftruncate
        )  # fmt: skip

        def open_(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            with self._lock:
                descriptor = opened(path, flags, *rest, **more)
                if flags & os.O_CREAT and (name := self._name(path)) is not None:
                    inode = os.fstat(descriptor).st_ino
                    if self._now.get(name) != inode:
                        self._did("made", name, inode)
                return descriptor

        def write_(descriptor: int, data: Any) -> int:
            self._tick()
            return write(descriptor, data)

        def truncate_(descriptor: int, length: int) -> None:
            self._tick()
            truncate(descriptor, length)

        def fsync_(descriptor: int) -> None:
            with self._lock:
                self._tick()
                fsync(descriptor)
                path = Path(f"/proc/self/fd/{descriptor}").readlink()
                if path.is_dir():
                    self._flush_names(path)
                elif (name := self._name(path)) is not None:
                    self._flushed[self._now[name]] = path.read_bytes()

        def replace_(source: Any, target: Any, **more: Any) -> None:
            with self._lock:
                self._tick()
                replace(source, target, **more)
                old, new = self._name(source), self._name(target)
                if old is not None and new is not None:
                    self._did("renamed", f"{old}\0{new}", self._now[old])

        def unlink_(path: Any, **more: Any) -> None:
            with self._lock:
                self._tick()
                unlink(path, **more)
                if (name := self._name(path)) is not None and name in self._now:
                    self._did("removed", name, self._now[name])

        os.open, os.write, os.fsync, os.replace = open_, write_, fsync_, replace_  # type: ignore[assignment]
        os.rename, os.unlink, os.remove, os.ftruncate = replace_, unlink_, unlink_, truncate_  # type: ignore[assignment]

    def _name(self, path: Any) -> str | None:
        path = Path(path)
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else None

    def _did(self, what: str, name: str, inode: int) -> None:
        self._since.append((what, name, inode))
        _apply(self._now, what, name, inode)

    def _flush_names(self, folder: Path) -> None:
        """A folder is flushed, with the names in it."""
        rest = []
        for what, name, inode in self._since:
            if (self._root / name.split("\0")[-1]).parent == folder:
                _apply(self._names, what, name, inode)
            else:
                rest.append((what, name, inode))
        self._since = rest

    def _tick(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == self._moment:
                self._cut()
                os._exit(0)

    def _cut(self) -> None:
        names, rng = dict(self._names), self._rng
        in_order, until = rng.random() < 0.5, rng.randint(0, len(self._since))
        for number, each in enumerate(self._since):
            if number < until if in_order else rng.random() < 0.5:
                _apply(names, *each)
        written = {inode: (self._root / name).read_bytes() for name, inode in self._now.items()}
        for folder in sorted(path for path in self._root.rglob("*") if path.is_dir()):
            (self._image / folder.relative_to(self._root)).mkdir(parents=True, exist_ok=True)
        for name, inode in names.items():
            path = self._image / name
            path.parent.mkdir(parents=True, exist_ok=True)
            sure = self._flushed.get(inode, b"")
            path.write_bytes(self._content(sure, written.get(inode, sure)))

    def _content(self, sure: bytes, written: bytes) -> bytes:
        """What was written and not flushed may be there, missing, a part of itself, or zeros."""
        if sure == written:
            return sure
        both = enumerate(zip(sure, written, strict=False))
        kept = written[: next((at for at, (old, new) in both if old != new), min(len(sure), len(written)))]
        more, rng = written[len(kept) :], self._rng
        part = more[: rng.randint(0, len(more))]
        return rng.choice((sure, written, kept + part, kept + bytes(len(more))))


def _apply(names: dict[str, int], what: str, name: str, inode: int) -> None:
    if what == "made":
        names[name] = inode
    elif what == "removed":
        names.pop(name, None)
    else:
        old, new = name.split("\0")
        names.pop(old, None)
        names[new] = inode


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The rows of a manifest, which may end in a torn line or in zeros."""
    rows = []
    for line in (out / NAME).read_bytes().split(b"\n") if (out / NAME).exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def results(out: Path) -> dict[str, tuple[str, int]]:
    """The files under final names: hash, and inode, which a file that is written once more does not keep."""
    paths = [path for path in out.rglob("*") if path.is_file()]
    names = [path.relative_to(out).as_posix() for path in paths]
    return {
        name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_ino)
        for name, path in zip(names, paths, strict=True)
        if not path.name.startswith((".dadfi-", "dadfi-manifest"))
    }


def look(out: Path, report: Report) -> dict[str, tuple[str, int]]:
    """After a kill or a cut: the files that are there, each of which has to have its row."""
    row_keys = {(row["target"], row["sha256_target"]) for row in rows_of(out)}
    files = results(out)
    report.files_without_row += sum((name, digest) not in row_keys for name, (digest, _) in files.items())
    return files


def look_at_the_end(out: Path, source: Path, report: Report) -> None:
    """After a run that was let through."""
    rows, files = rows_of(out), results(out)
    names = {path.relative_to(source).as_posix() for path in source.rglob("*.jpg")}
    report.runs_to_the_end += 1
    report.photos += len(files)
    there = {row["source"] for row in rows if files.get(row["target"], ("", 0))[0] == row["sha256_target"]}
    report.rows_without_file += len(rows) - len(there) + len(names - there)
    report.files_without_row += len(files.keys() - {row["target"] for row in rows})
    report.temporary_files += sum(path.name.startswith(".dadfi-") for path in out.rglob("*"))


def redone(before: dict[str, tuple[str, int]], out: Path) -> int:
    """How many of the files that were there have been written once more."""
    now = results(out)
    return sum(now.get(name, ("", 0))[1] != inode for name, (_, inode) in before.items())


class Rounds:
    """Runs over the same photos, one after the other; ``work`` is a folder for all that is needed."""

    def __init__(self, work: Path, photos: int, rng: random.Random) -> None:
        self._work, self._source, self._log, self._rng = work, work / "in", work / "log", rng
        self._out = work / "out"
        self.report = Report()
        make_photos(self._source, photos, rng)
        start = time.monotonic()
        self._through()
        self._seconds = time.monotonic() - start  # of a whole run
        shutil.rmtree(self._out)

    def kill(self, count: int) -> None:
        """Kill so many runs."""
        while self.report.kills < count:
            for _ in range(min(IN_A_ROW, count - self.report.kills)):
                if not self._killed():
                    break
            self._to_the_end()

    def cut(self, count: int) -> None:
        """Cut the power of so many runs."""
        operations = 12 * sum(1 for _ in self._source.rglob("*.jpg"))
        while self.report.cuts < count:
            for _ in range(min(IN_A_ROW, count - self.report.cuts)):
                if not self._cut(self._rng.randint(1, operations)):
                    break
            self._to_the_end()

    def _before(self) -> dict[str, tuple[str, int]]:
        """What a run finds."""
        files = look(self._out, self.report) if self._out.exists() else {}
        self.report.found += len(files)
        return files

    def _killed(self) -> bool:
        before = self._before()
        process = forked(lambda: run(self._source, self._out), self._log)
        time.sleep(self._rng.uniform(0, self._seconds))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        was_killed = os.WIFSIGNALED(status)
        self.report.kills += was_killed
        self._after(before)
        return was_killed

    def _cut(self, moment: int) -> bool:
        image = self._work / "image"
        disk_rng = random.Random(self._rng.random())
        before = self._before()

        def recorded() -> None:
            disk = Disk(self._out, image, moment, disk_rng)
            disk.record()
            run(self._source, self._out)

        self._ended(forked(recorded, self._log))
        if not image.exists():  # it was over before
            self._after(before)
            return False
        self.report.cuts += 1
        self._after(before)
        shutil.rmtree(self._out)
        image.rename(self._out)
        look(self._out, self.report)
        return True

    def _after(self, before: dict[str, tuple[str, int]]) -> None:
        if self._out.exists():
            look(self._out, self.report)
            self.report.redone += redone(before, self._out)

    def _to_the_end(self) -> None:
        before = self._before()
        self._through()
        self.report.redone += redone(before, self._out)
        look_at_the_end(self._out, self._source, self.report)
        shutil.rmtree(self._out)

    def _through(self) -> None:
        self._ended(forked(lambda: run(self._source, self._out), self._log))

    def _ended(self, process: int) -> None:
        _, status = os.waitpid(process, 0)
        if status:
            self.report.failed_runs.append(self._log.read_text() if self._log.exists() else f"status {status}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see the head of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="runs that are killed")
    parser.add_argument("--cuts", type=int, default=50, metavar="N", help="runs whose power is cut")
    parser.add_argument("--seed", type=int, default=0, help="another one chooses other moments")
    parser.add_argument("--photos", type=int, default=60, help="of a run")
    parser.add_argument("--work", type=Path, help="keep what is made there")
    parser.add_argument("--json", type=Path, dest="table", help="write the report there")
    args = parser.parse_args(arguments)
    work = (args.work or Path(tempfile.mkdtemp(prefix="kills-"))).resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    start = time.monotonic()
    rounds = Rounds(work, args.photos, random.Random(args.seed))
    rounds.kill(args.kills)
    rounds.cut(args.cuts)
    for name, value in vars(rounds.report).items():
        print(f"{name.replace('_', ' ')}: {len(value) if isinstance(value, list) else value}")
    print(*rounds.report.failed_runs, f"{time.monotonic() - start:.0f} s in all", sep="\n")
    if args.table:
        args.table.write_text(json.dumps(vars(rounds.report), indent=1), "utf-8")
    if args.work is None:
        shutil.rmtree(work)
    return 0 if rounds.report.clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
