"""Shards of a manifest: each worker writes the rows of its task into one, which the run takes over and removes.

On a disk a shard is a manifest of its own, locked and mended as every one is; in a store it is a row of objects.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from dadfi_fast.errors import UsageError
from dadfi_fast.protect.manifest import NAME, Facts, LockedError, Manifest, Row
from dadfi_fast.protect.manifest_store import StoreManifest, StoreShard, recovered, shards
from dadfi_fast.storage.disk import disk_errors, open_regular
from dadfi_fast.storage.paths import AnyPath, RemotePath

#: The folder of the shards, below an output folder on a disk.
FOLDER: Final = ".dadfi-parts"
#: So long a worker whose run was killed may take to finish the photos that it has under way.
RELEASE_TIMEOUT: Final = 60.0


def open_shard(out: AnyPath, facts: Facts, name: str) -> Manifest | StoreShard:
    """A new shard called ``name``.

    Raises:
        DiskError: it cannot be made.
    """
    if isinstance(out, RemotePath):
        return StoreShard(out, facts, name=name)
    with disk_errors(out / FOLDER):
        (out / FOLDER).mkdir(exist_ok=True)
        _require_own(out)
    return Manifest(out / FOLDER, facts, name=f"{name}.jsonl", files=out)


def read_shard(out: AnyPath, facts: Facts, name: str) -> list[Row]:
    """The rows of a shard whose worker is gone: those that are true, in order; none where there is no such shard.

    Raises:
        UsageError: its worker is still at work.
        DiskError: it cannot be read.
    """
    if isinstance(out, RemotePath):
        return list(recovered(out, shards(out, f"{name}-")))
    if not os.path.lexists(out / FOLDER / f"{name}.jsonl"):
        return []
    with closing(_once_released(out, facts, name)) as shard:
        return list(shard.rows())


def drop_shard(out: AnyPath, manifest: Manifest, name: str) -> None:
    """Remove a shard whose rows stand in the manifest; in a store that is done once the manifest is there."""
    if isinstance(manifest, StoreManifest):
        manifest.merged(name)
    elif isinstance(out, Path):
        manifest.flush()
        with suppress(OSError):
            (out / FOLDER / f"{name}.jsonl").unlink()
        with suppress(OSError):  # others are there
            (out / FOLDER).rmdir()


def leftover_shards(out: Path) -> list[str]:
    """The shards that killed runs have left, oldest first."""
    folder = out / FOLDER
    _require_own(out)
    return sorted(path.stem for path in folder.glob("*.jsonl")) if folder.is_dir() else []


def open_manifest(out: AnyPath, facts: Facts, *, read_only: bool = False) -> Manifest:
    """The manifest of an output folder on a disk or in a store, with all that killed runs have left in shards.

    Arguments and errors are those of `Manifest`.
    """
    if isinstance(out, RemotePath):
        return StoreManifest(out, facts, read_only=read_only)
    names = leftover_shards(out)
    if read_only and names:
        return _Preview(out, facts, names)
    note = None
    if names:
        with closing(Manifest(out, facts)) as manifest:
            note = manifest.note
            for name in names:
                for row in read_shard(out, facts, name):
                    manifest.append(row, again=True)
            for name in names:
                drop_shard(out, manifest, name)
    manifest = Manifest(out, facts, read_only=read_only)
    manifest.note = note or manifest.note
    return manifest


def _require_own(out: Path) -> None:
    """The folder of the shards is ours: no link."""
    if (out / FOLDER).is_symlink():
        raise UsageError(f"{out / FOLDER} is a link, which dadfi-fast never creates. Remove it.")


class _Preview(Manifest):
    """What the manifest will be once shards are taken over, made of copies: nothing is locked, nothing is changed."""

    def __init__(self, out: Path, facts: Facts, names: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dadfi-manifest-")
        files = [out / NAME, *(out / FOLDER / f"{name}.jsonl" for name in names)]
        with disk_errors(out), (Path(self._folder.name) / NAME).open("wb") as copy:
            for file in files:
                if os.path.lexists(file):
                    with os.fdopen(open_regular(file), "rb") as original:
                        shutil.copyfileobj(original, copy)
        super().__init__(Path(self._folder.name), facts, files=out)

    def close(self) -> None:
        """Remove the copies."""
        super().close()
        self._folder.cleanup()


def _once_released(out: Path, facts: Facts, name: str) -> Manifest:
    """The shard, once no worker of a killed run writes to it any more."""
    end = time.monotonic() + RELEASE_TIMEOUT
    while True:
        try:
            return Manifest(out / FOLDER, facts, name=f"{name}.jsonl", files=out)
        except LockedError as error:
            if time.monotonic() > end:
                raise UsageError(
                    f"a worker of an earlier run is still writing to {out}. Wait for it, or stop it."
                ) from error
        time.sleep(0.2)
