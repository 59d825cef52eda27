"""Files on disk: whole or not at all, and errors of the disk told from errors of a photo."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dadfi_fast.errors import DiskError, PhotoError

#: Temporary files are called ``.dadfi-<process>-<number>.partial``: short, to fit wherever the final name does.
PREFIX: Final = ".dadfi-"
SUFFIX: Final = ".partial"
#: What ends the run: the next photo would meet it too.
_FATAL: Final = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again, it goes on where it stopped",
    errno.EDQUOT: "the quota is used up; free some space and run the same command again, it goes on where it stopped",
    errno.EROFS: "the file system is read-only; name another --out",
    errno.EACCES: "there is no permission to write; name another --out, or change its permissions",
    errno.EPERM: "there is no permission to write; name another --out, or change its permissions",
    errno.EIO: "the disk reports an input/output error; check it, then run the same command again",
}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Errors of the disk that ``path`` is on, raised inside, become `DiskError`, others of writing `PhotoError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FATAL:
            raise DiskError(f"cannot write {path}: {_FATAL[error.errno]}") from error
        raise PhotoError(f"cannot write {path}: {error.strerror}") from error


class OutFolder:
    """The output folder; made where it is missing.

    Raises:
        DiskError: it cannot be made or written to; found out now, before any work is done.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: set[Path] = set()  # temporary files that still have to be renamed
        self._made: set[Path] = set()
        self._number = itertools.count()
        self._lock = threading.Lock()
        with disk_errors(path):
            try:
                path.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise DiskError(f"cannot create {path}: a part of the path is a file. Choose another --out.") from error
        self.discard(self.stage("probe", b"\0"))

    def stage(self, target: str, data: bytes, *, like: Path | None = None) -> Path:
        """Write ``data`` beside the place of ``target``, under a temporary name.

        Args:
            target: relative to the folder.
            data: the whole file.
            like: a file whose time of modification and permissions it gets, where the file system has such.

        The data are flushed to the disk (fsync) before the caller renames the file: else a power cut could leave an
        empty file under the final name. The folder itself is not: at worst a photo is done again after a power cut.

        Raises:
            DiskError: the disk is full or cannot be written to.
            PhotoError: the system does not take this name.
        """
        final = self.path / target
        temporary = final.parent / f"{PREFIX}{os.getpid()}-{next(self._number)}{SUFFIX}"
        with disk_errors(final):
            self._make(final.parent)
            with self._lock:
                self._open.add(temporary)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
            try:
                _write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if like is not None:
                _copy_facts(like, temporary)
        return temporary

    def commit(self, temporary: Path, target: str) -> None:
        """Give a staged file its final name, in one step."""
        with disk_errors(self.path / target):
            os.replace(temporary, self.path / target)  # noqa: PTH105
        with self._lock:
            self._open.discard(temporary)

    def discard(self, temporary: Path) -> None:
        """Remove a staged file."""
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        with self._lock:
            self._open.discard(temporary)

    def close(self) -> None:
        """Remove what was staged and never committed."""
        for temporary in list(self._open):
            self.discard(temporary)

    def remove_stale(self) -> None:
        """Remove what killed runs left behind; only while no other run writes here."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                if name.startswith(PREFIX) and name.endswith(SUFFIX):
                    with suppress(OSError):
                        Path(folder, name).unlink()

    def _make(self, folder: Path) -> None:
        if folder not in self._made:
            folder.mkdir(parents=True, exist_ok=True)
            if len(self._made) > 1000:  # a bound, not a wish: making a folder twice does no harm
                self._made.clear()
            self._made.add(folder)


def _copy_facts(source: Path, target: Path) -> None:
    """Time and permissions; a file system that has no such thing, or a source that is gone, is no fault."""
    with suppress(OSError):
        facts = source.stat()
        if os.name == "posix":  # a read-only file could not be replaced elsewhere
            target.chmod(facts.st_mode & 0o777)
        os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
