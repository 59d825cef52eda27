"""Where files lie: a path of this system, or a place in a store that fsspec knows (Amazon's S3, Google's, memory).

A `RemotePath` answers the few questions of `pathlib.Path` that a run asks, so most code need not know which of both
it has.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeAlias

from dadfi_fast.errors import DadfiError, DiskError, UsageError

#: So much of a file is fetched at first: most photos from the web in one request, and not too much of a film.
FIRST: Final = 1 << 20
#: Folders of a store whose lists of names are kept.
FOLDERS: Final = 4
#: Scheme -> what installs its package.
_INSTALL: Final = {
    "s3": "pip install 'dadfi-fast[s3]'",
    "s3a": "pip install 'dadfi-fast[s3]'",
    "gs": "pip install 'dadfi-fast[gcs]'",
    "gcs": "pip install 'dadfi-fast[gcs]'",
}


class CachedFilesystem:
    """A file system of fsspec, and the names in the folders that were looked at last. Safe to use from threads."""

    def __init__(self, system: Any) -> None:
        self.system = system
        self._folders: OrderedDict[str, set[str]] = OrderedDict()
        self._lock = threading.Lock()

    def has(self, key: str) -> bool:
        """Whether there is a file; one request for all files of a folder."""
        folder, _, name = key.rpartition("/")
        with self._lock:
            names = self._folders.get(folder)
            if names is None:
                with storage_errors(folder, to="list"):
                    listed = self.list(folder)
                names = {_name(each["name"]) for each in listed if each["type"] == "file"}
                self._folders[folder] = names
                if len(self._folders) > FOLDERS:
                    self._folders.popitem(last=False)
            return name in names

    def claim(self, key: str) -> None:
        """From now on there is a file of this name."""
        folder, _, name = key.rpartition("/")
        with self._lock:
            if folder in self._folders:
                self._folders[folder].add(name)

    def invalidate(self) -> None:
        """What was seen or claimed so far no longer counts."""
        with self._lock:
            self._folders.clear()

    def list(self, folder: str) -> list[dict[str, Any]]:
        """What fsspec says of everything in a folder; nothing where there is no such folder."""
        try:
            entries: list[dict[str, Any]] = self.system.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        return entries


@dataclass(frozen=True)
class RemotePath:
    """A file or folder in a store."""

    url: str
    key: str = field(compare=False)  # as the store's file system calls it, without the scheme
    store: CachedFilesystem = field(compare=False, repr=False)
    size: int | None = field(default=None, compare=False)  # bytes, where a listing said so
    mtime_ns: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.url

    def __reduce__(self) -> Any:  # stores hold connections, which another process makes anew
        return _again, (self.url, self.size, self.mtime_ns)

    def __truediv__(self, relative: str | PurePosixPath) -> RemotePath:
        rest = str(relative)
        if rest == ".":
            return self
        return RemotePath(f"{self.url.rstrip('/')}/{rest}", f"{self.key.rstrip('/')}/{rest}", self.store)

    @property
    def name(self) -> str:
        return _name(self.key)

    @property
    def parent(self) -> RemotePath:
        return RemotePath(self.url.rpartition("/")[0], self.key.rpartition("/")[0], self.store)

    def absolute(self) -> RemotePath:
        return self

    def resolve(self) -> RemotePath:
        return self

    def as_posix(self) -> str:
        return self.url

    def is_relative_to(self, other: RemotePath) -> bool:
        return self.url == other.url or self.url.startswith(other.url.rstrip("/") + "/")

    def relative_to(self, folder: RemotePath) -> PurePosixPath:
        return PurePosixPath(self.url[len(folder.url.rstrip("/")) + 1 :])

    def exists(self) -> bool:
        return self.store.has(self.key)

    def is_file(self) -> bool:
        return self.store.has(self.key)

    def read_bytes(self) -> bytes:
        data: bytes = self.store.system.cat_file(self.key)
        return data

    def open(self, mode: str = "rb") -> RemoteReader:
        """For reading, from the beginning on."""
        assert mode == "rb", "stores are written to by `dadfi_fast.storage.object_store`"
        return RemoteReader(self)


class RemoteReader:
    """A remote file, read from its beginning on: `FIRST` bytes, and then, if asked for, the rest."""

    def __init__(self, file: RemotePath) -> None:
        self._file = file
        self._held, self._at = b"", 0  # what was fetched and not read yet; where the next fetch begins

    def __enter__(self) -> RemoteReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._held = b""

    def read(self, n: int = -1) -> bytes:
        """The next ``n`` bytes, fewer at the end of the file; all that is left where ``n`` is negative."""
        if n < 0:
            data, self._held = self._held + self._fetch(None), b""
            return data
        if len(self._held) < n:
            self._held += self._fetch(max(n - len(self._held), FIRST))
        data, self._held = self._held[:n], self._held[n:]
        return data

    def _fetch(self, n: int | None) -> bytes:
        size = self._file.size
        if size is None:
            size = int(self._file.store.system.size(self._file.key))
        end = size if n is None else min(size, self._at + n)
        if end <= self._at:  # stores take an empty range for a mistake
            return b""
        data: bytes = self._file.store.system.cat_file(self._file.key, start=self._at, end=end)
        self._at = end
        return data


AnyPath: TypeAlias = Path | RemotePath


def parse_path(text: str) -> AnyPath:
    """The place that a path or a URL names; ``file://`` is a path.

    Raises:
        UsageError: the scheme is not known, or its package is not installed; the message says how to fix it.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    if scheme in ("file", "local"):
        from urllib.request import url2pathname  # loads what speaks HTTP, 20 ms, for a URL that few give

        return Path(url2pathname(rest.removeprefix("localhost")))
    return parse_url(text)


def parse_url(url: str) -> RemotePath:
    """The place in a store that ``url`` names.

    Raises:
        UsageError: as `parse_path` does.
    """
    scheme = url.partition("://")[0]
    if "::" in url:
        raise UsageError(f"{url} is a chain of file systems. Pass the store itself, such as s3://bucket/folder")
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs fsspec. Run: {_INSTALL.get(scheme, 'pip install fsspec')}") from error
    try:
        system, key = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        fix = f". Run: {_INSTALL[scheme]}" if scheme in _INSTALL else f": {error}"
        raise UsageError(f"{scheme}:// needs another package{fix}") from error
    except ValueError as error:
        raise UsageError(
            f"{url}: {error}; supported are s3://, gs://, file:// and the other schemes of fsspec"
        ) from error
    return RemotePath(str(system.unstrip_protocol(key)).rstrip("/"), str(key), CachedFilesystem(system))


@contextmanager
def storage_errors(where: object, *, to: str) -> Iterator[None]:
    """What goes wrong on the way to a store, raised inside, becomes `DiskError`; ``to``: read, write."""
    try:
        yield
    except DadfiError:
        raise
    except Exception as error:  # each store has errors of its own: of the network, of credentials, of its service
        what = str(error) or type(error).__name__
        raise DiskError(
            f"cannot {to} {where}: {what}. Files already written are kept; run the same command again to resume."
        ) from error


def first_bytes(file: AnyPath, n: int) -> bytes:
    """The first ``n`` bytes of a file, and no more of it.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(file, RemotePath):
        n = n if file.size is None else min(n, file.size)
        data: bytes = file.store.system.cat_file(file.key, start=0, end=n) if n else b""
        return data
    with file.open("rb") as local:
        return local.read(n)


def _again(url: str, size: int | None, mtime_ns: int) -> RemotePath:
    remote = parse_url(url)
    return RemotePath(remote.url, remote.key, _shared(remote), size, mtime_ns)


_FILESYSTEMS: Final[dict[int, CachedFilesystem]] = {}


def _shared(remote: RemotePath) -> CachedFilesystem:
    """One `CachedFilesystem` a file system and process: fsspec gives the same file system for the same options."""
    return _FILESYSTEMS.setdefault(id(remote.store.system), remote.store)


def _name(key: str) -> str:
    return os.path.basename(key.rstrip("/"))  # noqa: PTH119 (keys, a hundred thousand times)
