"""Files and numbers: written whole or not at all, read out of archives, hashed, and as JSON can hold them."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import secrets
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import IO, Any

from dadfi_fast.errors import DataError


@contextmanager
def atomic_file(
    path: Path, *, temporary: str | None = None, private: bool = False, sync: bool = False
) -> Iterator[IO[bytes]]:
    """A file to be written, which gets its name ``path`` once all is written; until then an older one stays.

    Args:
        path: in a folder that exists.
        temporary: name of the file in the same folder that is written to; None: one that no other process takes.
        private: readable and writable by the user alone.
        sync: flush to the disk before the file gets its name, so that a power cut leaves the old one or the new one.

    Raises:
        OSError: it cannot be written; the temporary file is removed, as it is after any other error.
    """
    other = path.with_name(temporary or f".dadfi-{os.getpid()}-{secrets.token_hex(4)}.partial")
    new = os.O_TRUNC if temporary else os.O_EXCL  # nobody can have put a link there
    flags = os.O_WRONLY | os.O_CREAT | new | getattr(os, "O_BINARY", 0)
    descriptor = os.open(other, flags, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(descriptor)
        other.replace(path)
    except BaseException:
        other.unlink(missing_ok=True)
        raise


def atomic_write(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write ``data`` to ``path`` whole or not at all; arguments and errors are those of `atomic_file`."""
    with atomic_file(path, private=private) as file:
        file.write(data)


@contextmanager
def open_members(source: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    """The files in a folder, and in all below it, or in a tar archive.

    Args:
        source: the folder or the archive.
        suffixes: endings of their names, in lower case; others are left out.

    Returns:
        Their names within it, sorted, with slashes; and what reads one.

    Raises:
        DataError: it is neither.
    """
    if source.is_dir():
        names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
        yield _ending(names, suffixes), lambda name: (source / name).read_bytes()
    elif source.is_file() and tarfile.is_tarfile(source):
        with tarfile.open(source) as tar:
            members = {member.name: member for member in tar if member.isfile()}

            def read(name: str) -> bytes:
                file = tar.extractfile(members[name])
                assert file is not None, f"{name} is no file"
                return file.read()

            yield _ending(members, suffixes), read
    else:
        raise DataError(f"{source} is neither a folder nor a tar archive. Pass one of these with --data.")


def sha256(path: Path) -> str:
    """Hex digest of a file's content; read again only if the file's size or time has changed."""
    return _sha256(path, path.stat().st_mtime_ns, path.stat().st_size)


def sha256_of(file: Any) -> str:
    """Hex digest of all that can be read from an open file, a MiB at a time."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def json_safe(value: Any) -> Any:
    """``value`` with None for every NaN and infinity in it, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): json_safe(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(entry) for entry in value]
    if isinstance(value, Real) and not isinstance(value, int) and not math.isfinite(value):
        return None
    return value


def _ending(names: Iterable[str], suffixes: tuple[str, ...]) -> list[str]:
    return sorted(name for name in names if name.lower().endswith(suffixes))


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, _mtime: int, _size: int) -> str:
    with path.open("rb") as file:
        return sha256_of(file)
