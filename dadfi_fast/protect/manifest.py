"""The manifest: one line an input, written as the run goes, and read again to resume.

A row is appended before its file is renamed to the final name, both by one thread. A run that is killed between the two
leaves one row too many, the last: it is found out at the next start, as the target is missing or has another hash, and
taken out. So every file that has its final name has its row, no row is without its file, and a stranger's file under a
target's name is never taken for ours.

A shard of a manifest, which one process writes for its share of the inputs, is a manifest of another name; see
`dadfi_fast.protect.distributed.manifest_shards`, and `dadfi_fast.protect.manifest_store` for output folders in a store.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dadfi_fast.errors import DiskError, PhotoError, UsageError
from dadfi_fast.files import atomic_file
from dadfi_fast.protect.results import (
    NO_PICTURE,
    NO_PICTURE_BEFORE,
    Copied,
    Done,
    Entry,
    Failed,
    Outcome,
    Quality,
    Skipped,
    Written,
)
from dadfi_fast.storage.disk import disk_errors
from dadfi_fast.storage.paths import AnyPath
from dadfi_fast.types import Face

NAME: Final = "dadfi-manifest.jsonl"
Row = dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """What every row of a run says."""

    config: str  # fingerprint
    generator: str  # sha256 of the generator's file
    backend: str  # which one ran, and why


class Manifest:
    """The manifest of an output folder, repaired where a run was killed, and locked for this run.

    Memory is 16 bytes a row: of each row only a hash of its source and its place in the file are kept.

    Args:
        out: the folder that the manifest lies in.
        facts: of this run.
        look: only look: no lock, no repair, no rows; and no file is made where there is none.
        name: of the file.
        files: the folder that the targets lie in, where it is another one.

    Raises:
        UsageError: another run writes to this folder.
        DiskError: it cannot be read or written.
    """

    def __init__(
        self, out: Path, facts: Facts, *, read_only: bool = False, name: str = NAME, files: AnyPath | None = None
    ) -> None:
        self.path, self.facts, self._files, self._read_only = out / name, facts, files or out, read_only
        path = self.path if not read_only or self.path.exists() else os.devnull
        flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        with disk_errors(self.path):
            self._descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if not read_only:
                _lock(self._descriptor, out)
            # Opened a second time, as reading and appending must not share a place in the file.
            self._file = Path(path).open("rb")  # noqa: SIM115
            self._keys, self._offsets, self._end = self._index()
            self._superseded = len(self._keys) != len(np.unique(self._keys))
        except BaseException:
            os.close(self._descriptor)
            raise

    def find(self, source: str) -> Row | None:
        """The last row of an earlier run about ``source``."""
        key = np.uint64(_key(source))
        last = int(np.searchsorted(self._keys, key, side="right"))
        while last > 0 and self._keys[last - 1] == key:
            last -= 1
            self._file.seek(int(self._offsets[last]))
            row: Row = json.loads(self._file.readline())
            if row["source"] == source:  # and not one of the same hash
                return row
        return None

    def append(self, row: Row, *, again: bool = False) -> None:
        """Add a row; ``again``: there is one about this source already, which this one replaces.

        Raises:
            DiskError: the disk is full; the file ends with the last whole row.
        """
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        with disk_errors(self.path):
            try:
                # At the end that we know of: an append that was cut short by a full disk is written over.
                os.lseek(self._descriptor, self._end, os.SEEK_SET)
                if os.write(self._descriptor, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                os.ftruncate(self._descriptor, self._end)
                raise
        self._end += len(line)
        self._superseded |= again

    def merge(self, row: Row, *, again: bool = False) -> None:
        """Add a row that stands in a shard already."""
        self.append(row, again=again)

    def flush(self) -> None:
        """Nothing: a row is in the file once it is appended."""

    def rollback(self) -> None:
        """Nothing: only the last row can be without its file, and it is taken back."""

    def rows(self) -> Iterator[Row]:
        """The rows of earlier runs."""
        for offset in np.sort(self._offsets):
            self._file.seek(int(offset))
            yield json.loads(self._file.readline())

    def undo_last(self, row: Row) -> None:
        """Remove the row that was appended last, as its file could not be renamed."""
        self._end -= len(json.dumps(row, allow_nan=False).encode()) + 1
        os.ftruncate(self._descriptor, self._end)

    def close(self) -> None:
        """Flush to the disk; where rows were replaced, leave only the last one of each input."""
        try:
            with disk_errors(self.path):
                if self._read_only:
                    return
                if self._superseded:
                    self._compact()
                else:
                    os.fsync(self._descriptor)
        finally:
            self._file.close()
            os.close(self._descriptor)

    def _index(self) -> tuple[np.ndarray[Any, np.dtype[np.uint64]], np.ndarray[Any, np.dtype[np.uint64]], int]:
        """Hashes and places of all rows, in order of hash and then of place; and where the last whole row ends."""
        keys, offsets, end = array("Q"), array("Q"), 0
        last: Row = {}
        for offset, line, row in _rows(self._file):
            keys.append(_key(row["source"]))
            offsets.append(offset)
            last, end = row, offset + len(line)
        if last and not is_there(last, self._files):
            end = offsets.pop()
            keys.pop()
        if not self._read_only:
            os.ftruncate(self._descriptor, end)
        all_keys = np.frombuffer(keys, np.uint64) if keys else np.empty(0, np.uint64)
        all_places = np.frombuffer(offsets, np.uint64) if offsets else np.empty(0, np.uint64)
        order = np.argsort(all_keys, kind="stable")
        return all_keys[order], all_places[order], end

    def _compact(self) -> None:
        """Write the file anew without replaced rows, and put it in place in one step."""
        self._file.seek(0)
        newest = {row["source"]: offset for offset, _, row in _rows(self._file)}
        self._file.seek(0)
        with atomic_file(self.path, sync=True) as file:
            for offset, line, row in _rows(self._file):
                if newest[row["source"]] == offset:
                    file.write(line)


def _rows(file: Any) -> Iterator[tuple[int, bytes, Row]]:
    """Place, line and content of every whole row; torn and foreign lines are passed over."""
    offset = 0
    for line in file:
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            row = None
        if isinstance(row, dict) and isinstance(row.get("source"), str):
            yield offset, line, row
        offset += len(line)


def _key(source: str) -> int:
    return int.from_bytes(hashlib.blake2b(source.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def is_there(row: Row, out: AnyPath) -> bool:
    """Whether the file that a row tells of is there, and is that file."""
    if row.get("status") not in ("written", "copied"):
        return True
    try:
        found = hashlib.sha256((out / row["target"]).read_bytes()).hexdigest()
    except OSError:
        return False
    return found == str(row["sha256_target"])


def _lock(descriptor: int, out: Path) -> None:
    """Keep a second run away; the system lets go when the process ends, however it ends."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:  # Windows: its rename of an open file fails anyway, with a clear error
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"another run is writing to {out}. Wait for it, or choose another --out.") from error
    except OSError as error:
        raise DiskError(f"cannot lock {out}: {error.strerror}. Choose an --out on another file system.") from error


def row_of(outcome: Outcome, facts: Facts) -> Row:
    """The manifest's row for an outcome."""
    assert not isinstance(outcome, Done), "what is done has its row already"
    entry = outcome.entry
    row: Row = {
        "source": entry.name,
        "target": None,
        "status": _status(outcome),
        "faces": [],
        "linf": None,
        "written": None,
        "sha256_source": None,
        "sha256_target": None,
        "seconds": round(entry.clock.seconds, 4),
        "error": None,
        "config": facts.config,
        "generator": facts.generator,
        "backend": facts.backend,
        "reason": None,
        "stat": [entry.size, entry.mtime_ns],
        "faces_from": None,
    }
    if isinstance(outcome, Written | Copied):
        row |= {key: getattr(outcome, key) for key in ("target", "faces_from", "sha256_source", "sha256_target")}
    if isinstance(outcome, Written):
        boxes = [[*(round(n, 1) for n in (f.x0, f.y0, f.x1, f.y1)), round(f.score, 3)] for f in outcome.faces]
        measured = outcome.measured
        row |= {"faces": boxes, "linf": outcome.linf}
        row["written"] = measured and {"linf": measured.linf, "psnr": measured.psnr}
        row["reason"] = "; ".join(outcome.notes) or None
    elif isinstance(outcome, Failed):
        kind = type(outcome.error).__name__
        row["error"] = {"hop": outcome.stage, "type": kind, "message": str(outcome.error) or kind}
    else:
        row["reason"] = "; ".join((outcome.reason, *getattr(outcome, "notes", ())))
        row["linf"] = 0 if isinstance(outcome, Copied) else None
    return row


def outcome_of(row: Row, entry: Entry) -> Outcome:
    """What a row says of an input: the other way round than `row_of`, as far as a summary goes."""
    reason = str(row["reason"] or "")
    hashes = str(row["sha256_source"]), str(row["sha256_target"])
    if row["status"] == "written":
        faces = tuple(Face(*box) for box in row["faces"])
        measured = row["written"] and Quality(**row["written"])
        notes = tuple(reason.split("; ")) if reason else ()
        return Written(entry, row["target"], faces, row["linf"], *hashes, measured, notes)
    if row["status"] == "copied":
        return Copied(entry, row["target"], reason, *hashes)
    if row["status"] == "failed":
        return Failed(entry, row["error"]["hop"], PhotoError(row["error"]["message"]))
    return Skipped(entry, reason, picture=reason not in (NO_PICTURE, NO_PICTURE_BEFORE))


def _status(outcome: Outcome) -> str:
    return type(outcome).__name__.lower()
