"""The manifest of an output folder in a store, where nothing can be appended to a file.

The run keeps it in a temporary folder of this machine. Rows go up in shards, a group at a time and before the files of
the group; at the end the whole manifest goes up and the shards go. What a killed run left of its shards is read at the
next start. Only the files of the last group can be missing then: its rows are compared with what is there.
"""

from __future__ import annotations

import glob
import io
import json
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from dadfi_fast.protect.manifest import NAME, Facts, Manifest, Row, is_there
from dadfi_fast.storage.lease import Lease
from dadfi_fast.storage.paths import RemotePath, storage_errors
from dadfi_fast.storage.rows import read_lines

#: The folder of the shards, below the output folder.
SHARDS: Final = "dadfi-manifest-parts"


def new_run() -> str:
    """A name for the shards of one run; a later run's comes after it."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


class StoreShard:
    """Rows that go up in groups, each as an object of its own: ``<run>-<share>-<group>.jsonl``.

    Args:
        out: the output folder.
        facts: of this run.
        name: of the run, and of the share of its inputs that one process has.
    """

    def __init__(self, out: RemotePath, facts: Facts, *, name: str) -> None:
        self.facts, self._out, self._name = facts, out, name
        self._rows: list[Row] = []
        self._group = 0

    def find(self, source: str) -> Row | None:
        """None: rows of earlier runs are none of a shard's business."""
        return None

    def append(self, row: Row, *, again: bool = False) -> None:
        """Add a row to the group."""
        self._rows.append(row)

    def undo_last(self, row: Row) -> None:
        """Remove the row that was appended last."""
        self._rows.pop()

    def flush(self) -> None:
        """Upload the group.

        Raises:
            DiskError: the store cannot be reached.
        """
        if not self._rows:
            return
        path = self._out / SHARDS / f"{self._name}-{self._group:06}.jsonl"
        with storage_errors(path, to="write"):
            path.store.system.pipe_file(path.key, b"".join(map(_line, self._rows)))
        self._rows, self._group = [], self._group + 1

    def rollback(self) -> None:
        """Nothing: rows that went up are compared with the files by whoever reads the shard."""

    def close(self) -> None:
        """Upload what is left."""
        self.flush()


def shards(out: RemotePath, name: str = "") -> list[RemotePath]:
    """The shards whose names begin with ``name``, in the order in which they were made.

    Raises:
        DiskError: the store cannot be reached.
    """
    folder = out / SHARDS
    with storage_errors(folder, to="list"):
        listed = (folder / Path(each["name"]).name for each in folder.store.list(folder.key) if each["type"] == "file")
        return sorted((shard for shard in listed if shard.name.startswith(name)), key=lambda shard: shard.name)


def recovered(out: RemotePath, left: Sequence[RemotePath]) -> Iterator[Row]:
    """The rows of shards, given in their order, that are true.

    Raises:
        DiskError: the store cannot be reached.
    """
    latest = {_share(shard): shard for shard in left}
    for shard in left:
        last = shard is latest[_share(shard)]
        with storage_errors(shard, to="read"):
            rows = [line.row for line in read_lines(io.BytesIO(shard.read_bytes())) if line.row]
            yield from (row for row in rows if not last or is_there(row, out))


def forget(out: RemotePath, gone: Sequence[RemotePath]) -> None:
    """Remove shards."""
    with storage_errors(out / SHARDS, to="remove"):
        if glob.has_magic(out.key):  # many at once are taken for patterns
            for shard in gone:
                out.store.system.rm_file(shard.key)
        elif gone:
            out.store.system.rm([shard.key for shard in gone])


def _share(shard: RemotePath) -> str:
    return shard.name.rpartition("-")[0]


class StoreManifest(Manifest):
    """The manifest of an output folder in a store; see `Manifest` for what it answers and raises."""

    def __init__(self, out: RemotePath, facts: Facts, *, read_only: bool = False) -> None:
        self.run = new_run()
        self._remote, self._only_look = out, read_only
        self._lease = None if read_only else Lease(out)
        self._folder = tempfile.TemporaryDirectory(prefix="dadfi-manifest-")
        try:
            spool = Path(self._folder.name)
            self._left = shards(out)  # by a killed run
            self._changed = bool(self._left)
            self._fetch(spool / NAME)
            super().__init__(spool, facts, files=out)
        except BaseException:
            self._release()
            raise
        self._shard = StoreShard(out, facts, name=f"{self.run}-main")
        self._merged = {f"{self.run}-main"}

    def append(self, row: Row, *, again: bool = False) -> None:
        """Add a row, also to the shard that goes up next."""
        self.merge(row, again=again)
        self._shard.append(row)

    def merge(self, row: Row, *, again: bool = False) -> None:
        """Add a row that some shard has already."""
        super().append(row, again=again)
        self._changed = True

    def merged(self, name: str) -> None:
        """The rows of the shard called ``name`` are all here: it goes once the manifest is there."""
        self._merged.add(name)

    def flush(self) -> None:
        """Upload the shard."""
        self._shard.flush()

    def rollback(self) -> None:
        """Leave the shards to the next run, which compares their rows with the files."""
        self._changed = False

    def close(self) -> None:
        """Upload the manifest, without rows that were replaced, and remove the shards."""
        try:
            try:
                if not self._only_look:
                    self._shard.close()
            finally:
                super().close()
            if self._changed and not self._only_look:
                with storage_errors(final := self._remote / NAME, to="write"):
                    final.store.system.put_file(str(self.path), final.key)
                own = (shard for shard in shards(self._remote, self.run) if _share(shard) in self._merged)
                forget(self._remote, [*self._left, *own])
        finally:
            self._release()

    def _fetch(self, spool: Path) -> None:
        """What is there, and what a killed run left in shards."""
        final, system = self._remote / NAME, self._remote.store.system
        with storage_errors(final, to="read"):
            if system.exists(final.key):
                system.get_file(final.key, str(spool))
        with spool.open("ab") as file:
            file.writelines(map(_line, recovered(self._remote, self._left)))

    def _release(self) -> None:
        self._folder.cleanup()
        if self._lease is not None:
            self._lease.close()


def _line(row: Row) -> bytes:
    return json.dumps(row, allow_nan=False).encode() + b"\n"
