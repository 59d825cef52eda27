"""An output folder in a store: files are uploaded whole, under their final names."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from dadfi_fast.errors import PhotoError, UsageError
from dadfi_fast.storage.disk import PREFIX, SUFFIX, OutFolder
from dadfi_fast.storage.paths import AnyPath, RemotePath, storage_errors

#: Uploads side by side: each waits for the network most of its time.
UPLOADS: Final = 16
#: Schemes of stores where an upload is one step; elsewhere a run that is killed could leave half a file.
WHOLE: Final = ("s3://", "s3a://", "gs://", "gcs://", "abfs://", "abfss://", "az://", "memory://")
#: What stores say of a name that they do not take.
_NAME: Final = (errno.EINVAL, errno.ENAMETOOLONG)


class OutStore:
    """An output folder in a store.

    An upload is one step: before it is complete nothing is seen under the final name. So nothing is staged, and a run
    that was killed leaves nothing behind but parts of its manifest.

    Raises:
        UsageError: uploads to this kind of store are not known to be one step.
        DiskError: it cannot be written to; found out now, before any work is done.
    """

    def __init__(self, path: RemotePath) -> None:
        self.path = path
        if not path.url.startswith(WHOLE):
            raise UsageError(
                f"--out {path}: this kind of store cannot write files atomically."
                f" Mount it and pass the folder, or use one of {', '.join(WHOLE)}"
            )
        path.store.invalidate()  # an earlier run may have claimed names that it never wrote
        probe = path / f"{PREFIX}{secrets.token_hex(6)}{SUFFIX}"
        with storage_errors(path, to="write to"):
            path.store.system.pipe_file(probe.key, b"\0")
            path.store.system.rm_file(probe.key)

    def stage(self, target: str, data: bytes, *, like: Path | None = None) -> bytes:
        """Keep ``data`` until its group is uploaded; ``target`` is told later, and stores have times of their own."""
        return data

    def claim(self, target: str) -> None:
        """``target`` will be written: no other file gets this name."""
        self.path.store.claim((self.path / target).key)

    def upload(self, files: Mapping[int, tuple[str, bytes]]) -> dict[int, PhotoError]:
        """Write files, given as number -> (target, bytes); says which of them have names that the store does not take.

        Raises:
            DiskError: the store cannot be reached, or does not let us.
        """
        if not files:
            return {}
        with ThreadPoolExecutor(min(UPLOADS, len(files)), "dadfi-upload") as threads:
            tried = {n: threads.submit(self._put, target, data) for n, (target, data) in files.items()}
        return {n: error for n, future in tried.items() if (error := future.result()) is not None}

    def _put(self, target: str, data: bytes) -> PhotoError | None:
        final = self.path / target
        with storage_errors(final, to="write"):
            try:
                final.store.system.pipe_file(final.key, data)
            except OSError as error:
                if error.errno in _NAME:
                    return PhotoError(f"cannot write {final}: {error}")
                raise
        return None

    def close(self) -> None:
        """Nothing is left to be removed."""

    def remove_stale(self) -> None:
        """There is nothing stale: no file is ever staged."""


def open_out(path: AnyPath, *, refuse: Callable[[Path], None] = lambda _: None) -> OutFolder | OutStore:
    """The output folder, made where it is missing; ``refuse`` is that of `OutFolder`.

    Raises:
        DiskError: it cannot be made or written to.
    """
    return OutStore(path) if isinstance(path, RemotePath) else OutFolder(path, refuse=refuse)
