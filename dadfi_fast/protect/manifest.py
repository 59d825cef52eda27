"""The manifest: one line an input, written as the run goes, and read again to resume.

Rows are appended, and flushed to the disk, before their files are renamed to the final names: a group at a time, all by
one thread. A run that ends in between, by a kill or a power cut, leaves rows too many, the last ones: they are found
out at the next start, as the target is missing or has another hash, and taken out. So every file that has its final
name has its row, no row is without its file, and a stranger's file under a target's name is never taken for ours.

Lines that are no rows of ours are set aside in `SET_ASIDE`, and a file that has no row at all is refused.

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
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dadfi_fast.errors import DiskError, PhotoError, UsageError
from dadfi_fast.files import atomic_file, sha256_of
from dadfi_fast.metrics.visibility import FaceAppearance
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
from dadfi_fast.storage import rows
from dadfi_fast.storage.disk import disk_errors, open_regular, sync_folder
from dadfi_fast.storage.paths import AnyPath, RemotePath
from dadfi_fast.storage.rows import Line, read_lines
from dadfi_fast.types import Face

NAME: Final = rows.MANIFEST
Row: TypeAlias = rows.Row
#: Where lines go that are not ours, beside the manifest.
SET_ASIDE: Final = "dadfi-manifest.set-aside"
#: Rows at the end of a manifest that are compared with their files where the last run was killed.
UNSETTLED: Final = 64


@dataclass(frozen=True)
class Facts:
    """What every row of a run says."""

    config: str  # fingerprint
    generator: str  # sha256 of the generator's file
    backend: str  # which one ran, and why
    refined: Mapping[str, int | dict[str, str]] | None = None  # with --refine: see `ProtectConfig.refined`


class LockedError(UsageError):
    """Another run writes to this manifest."""


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
        LockedError: another run writes to this folder.
        UsageError: the file is a link, a pipe or none of ours.
        DiskError: it cannot be read or written.
    """

    def __init__(
        self, out: Path, facts: Facts, *, read_only: bool = False, name: str = NAME, files: AnyPath | None = None
    ) -> None:
        self.path, self.facts, self._files, self._read_only = out / name, facts, files or out, read_only
        #: What is to be said of lines that were not ours; None where there were none.
        self.note: str | None = None
        self._marker = self.path.with_name(f".dadfi-{self.path.stem}.open")
        self._open()
        try:
            self._keys, self._offsets, self._end = self._index()
            self._superseded = len(self._keys) != len(np.unique(self._keys))
            self._flushed = self._end
            if not read_only:
                self._mark_open()
        except BaseException:
            self._close()
            raise

    def _open(self) -> None:
        """Open the file and lock it: the one that is there once it is locked, as another run may have put it there."""
        while True:
            self._descriptor = self._opened()
            try:
                if not self._read_only:
                    _lock(self._descriptor, self.path.parent)
                # Opened a second time, as reading and appending must not share a place in the file.
                self._file = os.fdopen(self._opened(), "rb")
            except BaseException:
                os.close(self._descriptor)
                raise
            if os.path.samestat(os.fstat(self._descriptor), os.fstat(self._file.fileno())):
                return
            self._close()

    def _opened(self) -> int:
        if self._read_only and not os.path.lexists(self.path):
            return os.open(os.devnull, os.O_RDONLY)
        return _own(self.path, os.O_RDONLY if self._read_only else os.O_RDWR | os.O_CREAT)

    def _close(self) -> None:
        self._file.close()
        os.close(self._descriptor)

    def _mark_open(self) -> None:
        """Leave a file that is there until this run closes the manifest; the folder goes to the disk with it."""
        with disk_errors(self.path):
            os.close(_own(self._marker, os.O_WRONLY | os.O_CREAT))
            sync_folder(self.path.parent)

    def _set_aside(self, lines: Sequence[Line]) -> None:
        if not lines:
            return
        path = self.path.with_name(SET_ASIDE)
        with disk_errors(path):
            descriptor = _own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            with os.fdopen(descriptor, "ab") as file:
                for line in lines:
                    self._file.seek(line.offset)
                    for start in range(0, line.length, 1 << 20):
                        file.write(self._file.read(min(1 << 20, line.length - start)))
                file.flush()
                os.fsync(descriptor)
        count = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
        self.note = (
            f"moved {count} that dadfi-fast did not write from the manifest to {path}; their photos are processed again"
        )

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
        """Flush the rows so far to the disk: a power cut does not take them any more.

        Raises:
            DiskError: the disk does not take them.
        """
        if self._flushed != self._end:
            with disk_errors(self.path):
                os.fsync(self._descriptor)
            self._flushed = self._end

    def rollback(self) -> None:
        """Nothing: rows without their files are taken back."""

    def rows(self) -> Iterator[Row]:
        """The rows of earlier runs."""
        for offset in np.sort(self._offsets):
            self._file.seek(int(offset))
            yield json.loads(self._file.readline())

    def undo_last(self, row: Row) -> None:
        """Remove the row that was appended last, as its file could not be renamed."""
        self._end -= len(json.dumps(row, allow_nan=False).encode()) + 1
        os.ftruncate(self._descriptor, self._end)
        self._flushed = -1

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
                self._marker.unlink(missing_ok=True)
        finally:
            self._close()

    def _index(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64], int]:
        """Hashes and places of all rows, in order of hash and then of place; and where the last whole row ends."""
        keys, offsets, end = array("Q"), array("Q"), 0
        foreign: list[Line] = []
        last: deque[Line] = deque(maxlen=UNSETTLED if self._marker.exists() else 1)
        objects = False
        self._file.seek(0)
        for line in read_lines(self._file):
            objects |= line.is_object
            if line.row is not None:
                keys.append(_key(line.row["source"]))
                offsets.append(line.offset)
                last.append(line)
                end = line.offset + line.length
            elif not line.is_torn:
                foreign.append(line)
        if foreign and not objects:
            raise _foreign(self.path)
        missing = {line.offset for line in last if line.row and not is_there(line.row, self._files)}
        if (foreign or missing) and not self._read_only:
            self._set_aside(foreign)
            self._rewrite(lambda line: line.offset not in missing)
            self._close()
            self._open()
            return self._index()
        for n in reversed(range(len(offsets))):
            if not missing or offsets[n] < min(missing):
                break
            if offsets[n] in missing:
                del offsets[n], keys[n]
        if not self._read_only:
            os.ftruncate(self._descriptor, end)
        all_keys = np.frombuffer(keys, np.uint64) if keys else np.empty(0, np.uint64)
        all_places = np.frombuffer(offsets, np.uint64) if offsets else np.empty(0, np.uint64)
        order = np.argsort(all_keys, kind="stable")
        return all_keys[order], all_places[order], end

    def _compact(self) -> None:
        """Write the file anew without replaced rows, and put it in place in one step."""
        self._file.seek(0)
        newest = {line.row["source"]: line.offset for line in read_lines(self._file) if line.row}
        self._rewrite(lambda line: line.row is not None and newest[line.row["source"]] == line.offset)

    def _rewrite(self, keep: Callable[[Line], bool]) -> None:
        """Put a file with the rows that are to be kept in the place of this one, in one step."""
        self._file.seek(0)
        with (
            disk_errors(self.path),
            os.fdopen(self._opened(), "rb") as again,
            atomic_file(self.path, sync=True) as file,
        ):
            for line in read_lines(self._file):
                if line.row is not None and keep(line):
                    again.seek(line.offset)
                    file.write(again.read(line.length))


def _own(path: Path, flags: int) -> int:
    """A descriptor of a file of ours; what is no file, or a link to one, is refused."""
    with disk_errors(path):
        try:
            return open_regular(path, flags)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EISDIR):
                raise
            raise _foreign(path) from error


def _foreign(path: Path) -> UsageError:
    return UsageError(f"{path} was not written by dadfi-fast. Move it away, or choose another --out.")


def _key(source: str) -> int:
    return int.from_bytes(hashlib.blake2b(source.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def is_there(row: Row, out: AnyPath) -> bool:
    """Whether the file that a row tells of is there, and is that file."""
    return row.get("status") not in ("written", "copied") or is_result(row, out)


def is_result(row: Row, out: AnyPath) -> bool:
    """Whether the target of a row is there, and has the content that the row says."""
    path = out / row["target"]
    try:
        if isinstance(path, RemotePath):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            with os.fdopen(open_regular(path), "rb") as file:
                digest = sha256_of(file)
    except OSError:
        return False
    return digest == str(row["sha256_target"])


def _lock(descriptor: int, out: Path) -> None:
    """Keep a second run away; the system lets go when the process ends, however it ends."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:  # Windows: its rename of an open file fails anyway, with a clear error
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError(f"another run is writing to {out}. Wait for it, or choose another --out.") from error
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
        "strength": None,
    }
    if entry.earlier is not None:  # which stays, unless there is a new one
        row |= {"target": entry.target, "sha256_target": entry.earlier}
    if isinstance(outcome, Written | Copied):
        row |= {key: getattr(outcome, key) for key in ("target", "faces_from", "sha256_source", "sha256_target")}
    if isinstance(outcome, Written):
        boxes = [[*(round(n, 1) for n in (f.x0, f.y0, f.x1, f.y1)), round(f.score, 3)] for f in outcome.faces]
        measured = outcome.measured
        row |= {"faces": boxes, "linf": outcome.linf, "strength": outcome.strength}
        row["written"] = measured and _measured(measured)
        row["reason"] = "; ".join(outcome.notes) or None
        row |= {"refined": dict(facts.refined)} if facts.refined else {}
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
        measured = row["written"] and _quality(row["written"])
        notes = tuple(reason.split("; ")) if reason else ()
        strength = row.get("strength")
        return Written(entry, row["target"], faces, row["linf"], *hashes, measured, notes, strength=strength)
    if row["status"] == "copied":
        return Copied(entry, row["target"], reason, *hashes)
    if row["status"] == "failed":
        return Failed(entry, row["error"]["hop"], PhotoError(row["error"]["message"]))
    return Skipped(entry, reason, picture=reason not in (NO_PICTURE, NO_PICTURE_BEFORE))


#: What the manifest says of how visible a change is; null where it was not measured.
_SEEN: Final = tuple(each.name for each in fields(FaceAppearance))


def _measured(quality: Quality) -> Row:
    seen = dict.fromkeys(_SEEN) if quality.seen is None else asdict(quality.seen)
    return {"linf": quality.linf, "psnr": quality.psnr, **seen}


def _quality(measured: Row) -> Quality:
    seen = None
    if all(measured.get(name) is not None for name in _SEEN):
        seen = FaceAppearance(**{name: measured[name] for name in _SEEN})
    return Quality(measured["linf"], measured.get("psnr"), seen)


def _status(outcome: Outcome) -> str:
    return type(outcome).__name__.lower()
