"""Files on disk: whole or not at all, and errors of the disk told from errors of a photo."""

from __future__ import annotations

import errno
import importlib
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dadfi_fast.errors import DiskError, PhotoError

#: Temporary files are called ``.dadfi-<process>-<number>.partial``: short, to fit wherever the final name does.
PREFIX: Final = ".dadfi-"
SUFFIX: Final = ".partial"
_BINARY: Final = getattr(os, "O_BINARY", 0)
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
#: What ends the run: the next photo would meet it too.
_FATAL: Final = {
    errno.ENOSPC: "the disk is full. Free some space and run the same command again to resume.",
    errno.EDQUOT: "the disk quota is exhausted. Free some space and run the same command again to resume.",
    errno.EROFS: "the file system is read-only. Choose another --out.",
    errno.EACCES: "no permission to write. Choose another --out, or change its permissions.",
    errno.EPERM: "no permission to write. Choose another --out, or change its permissions.",
    errno.EIO: "the disk reports an input/output error. Check it, then run the same command again.",
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


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a file that is no link, pipe or device; `OSError` where it is one.

    Without waiting: a pipe that nobody writes to would be waited for without end.
    """
    descriptor = os.open(path, flags | _BINARY | _NO_FOLLOW, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system has such a thing."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems cannot
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def folds_case(folder: Path) -> bool:
    """Whether names that differ by case alone are one file in ``folder``, or in what will be made there.

    Without a file of our own: a name that is there is asked for in the other case. Where there is none, in a folder
    that is empty or will only be made, the folders above it are asked.
    """
    for asked in (folder, *folder.absolute().parents):
        with suppress(OSError), os.scandir(asked) as entries:
            names = {entry.name for entry in itertools.islice(entries, 1000)}
            for name in sorted(names, reverse=True):
                other = name.swapcase()
                if name.isascii() and other not in (name, *names):
                    return _is_one(asked / name, asked / other)
    return False


def _is_one(path: Path, other: Path) -> bool:
    try:
        return os.path.samestat(path.lstat(), other.lstat())
    except OSError:
        return False


class OutFolder:
    """The output folder; made where it is missing.

    Args:
        path: of the folder.
        refuse: called with each folder below it that was there before; raises where nothing may be written to it.

    Raises:
        DiskError: it cannot be made or written to; found out now, before any work is done.
    """

    def __init__(self, path: Path, *, refuse: Callable[[Path], None] = lambda _: None) -> None:
        self.path, self._refuse = path, refuse
        self._open: dict[Path, int | None] = {}  # temporary files that still have to be renamed, and what locks them
        self._made: set[Path] = set()
        self._number = itertools.count()
        self._lock, self._making = threading.Lock(), threading.RLock()
        self._closed = False
        with disk_errors(path):
            try:
                path.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise DiskError(f"cannot create {path}: a part of the path is a file. Choose another --out.") from error
        self.discard(self.stage("probe", b"\0"))

    def stage(self, target: str, data: bytes, *, like: Path | None = None, rest: Iterable[bytes] = ()) -> Path:
        """Write ``data`` beside the place of ``target``, under a temporary name.

        Args:
            target: relative to the folder.
            data: the file.
            rest: what follows, where that is not to be in memory as a whole.
            like: a file whose time of modification and permissions it gets, where the file system has such.

        The data are flushed to the disk (fsync) before the caller renames the file: else a power cut could leave an
        empty file under the final name. The folder itself is not: at worst a photo is done again after a power cut.

        Raises:
            DiskError: the disk is full or cannot be written to.
            PhotoError: the system does not take this name.
        """
        final = self.path / target
        with disk_errors(final):
            self._make(final.parent)
            descriptor, temporary = self._new(final.parent)
            locked = _lock(descriptor)
            try:
                _write_all(descriptor, data)
                for block in rest:
                    _write_all(descriptor, block)
                os.fsync(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if locked:
                with self._lock:
                    self._open[temporary] = descriptor
            else:
                os.close(descriptor)
            if like is not None:
                _copy_facts(like, temporary)
        return temporary

    def commit(self, temporary: Path, target: str) -> None:
        """Give a staged file its final name, in one step."""
        with disk_errors(self.path / target):
            os.replace(temporary, self.path / target)  # noqa: PTH105
        self._release(temporary)

    def discard(self, temporary: Path) -> None:
        """Remove a staged file."""
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        self._release(temporary)

    def close(self) -> None:
        """Remove what was staged and never committed; a thread that comes late leaves nothing."""
        with self._lock:
            self._closed = True
        for temporary in list(self._open):
            self.discard(temporary)

    def _release(self, temporary: Path) -> None:
        with self._lock:
            descriptor = self._open.pop(temporary, None)
        if descriptor is not None:
            os.close(descriptor)

    def remove_stale(self) -> None:
        """Remove what killed runs left behind; files of a run that goes on, above or below, are locked and stay."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                if name.startswith(PREFIX) and name.endswith(SUFFIX):
                    with suppress(OSError):
                        _remove_unlocked(Path(folder, name))

    def _new(self, folder: Path) -> tuple[int, Path]:
        """A temporary file that nobody else has, and nobody can have put a link at."""
        while True:
            temporary = folder / f"{PREFIX}{os.getpid()}-{next(self._number)}{SUFFIX}"
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
            except FileExistsError:  # left by a process of the same number
                continue
            with self._lock:
                closed = self._closed
                if not closed:
                    self._open[temporary] = None
            if closed:
                os.close(descriptor)
                temporary.unlink()
                raise PhotoError("the run is over")
            return descriptor, temporary

    def _make(self, folder: Path) -> None:
        """Make a folder, and those above it, with a look at each that is there: it may be a link or a mount."""
        with self._making:
            if folder in self._made:
                return
            if folder != self.path:
                self._make(folder.parent)
                try:
                    folder.mkdir()
                except FileExistsError:
                    if not folder.is_dir():
                        raise
                    self._refuse(folder)
            if len(self._made) > 1000:  # a bound, not a wish: looking twice does no harm
                self._made.clear()
            self._made.add(folder)


def _lock(descriptor: int) -> bool:
    """Lock a file for as long as this process has it open; False where the system or the file system cannot."""
    try:
        fcntl = importlib.import_module("fcntl")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _remove_unlocked(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
        return
    try:
        descriptor = open_regular(path, os.O_RDWR)
    except PermissionError:
        descriptor = open_regular(path)
    try:
        fcntl = importlib.import_module("fcntl")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except (ImportError, OSError):  # no locks here
        pass
    finally:
        os.close(descriptor)
    path.unlink()


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
