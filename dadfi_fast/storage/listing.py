"""Sources in a store: a file, everything below a folder, or a glob; in the same order as on a disk."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Final

from dadfi_fast.errors import NothingToDo, UsageError
from dadfi_fast.storage.paths import RemotePath, storage_errors

#: Where file systems of fsspec say when a file was changed; each has its own word.
_TIMES: Final = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


def root(source: RemotePath, *, is_junk: Callable[[str], bool]) -> tuple[RemotePath, tuple[RemotePath, ...] | None]:
    """The folder that ``source`` stands for, and its files where these are named; None: all that is in it.

    Raises:
        UsageError: there is nothing of this name.
        NothingToDo: a glob matches nothing.
        DiskError: the store cannot be reached.
    """
    system = source.store.system
    with storage_errors(source, to="read"):
        if system.isfile(source.key):
            return source.parent, (_filed(source.parent, system.info(source.key)),)
        if system.isdir(source.key):
            return source, None
    if not glob.has_magic(source.url):
        raise UsageError(
            f"{source} does not exist. SOURCE is a file, a folder or a glob such as 's3://bucket/photos/**/*.jpg'"
        )
    return _glob(source, is_junk)


def walk(
    folder: RemotePath, relative: PurePosixPath, *, enter: Callable[[RemotePath], bool], is_junk: Callable[[str], bool]
) -> Iterator[tuple[PurePosixPath, Sequence[RemotePath] | OSError]]:
    """Folders (relative to the first) and the files in each, in name order, one folder in memory at a time."""
    try:
        listed = sorted(folder.store.list(folder.key), key=lambda each: str(each["name"]).rstrip("/"))
    except Exception as error:  # each store has errors of its own
        yield relative, error if isinstance(error, OSError) else OSError(str(error) or type(error).__name__)
        return
    files = [_filed(folder, each) for each in listed if _is_file(each, folder) and not is_junk(_name(each))]
    yield relative, files
    below = [folder / _name(each) for each in listed if each["type"] == "directory"]
    del listed, files
    for inner in below:
        if enter(inner):
            yield from walk(inner, relative / inner.name, enter=enter, is_junk=is_junk)


def _glob(pattern: RemotePath, is_junk: Callable[[str], bool]) -> tuple[RemotePath, tuple[RemotePath, ...]]:
    head = pattern
    while glob.has_magic(head.key):
        head = head.parent
    with storage_errors(pattern, to="list"):
        matches: dict[str, Any] = pattern.store.system.glob(pattern.key, detail=True)
    below = len(head.key.rstrip("/")) + 1
    infos = (matches[key] for key in sorted(matches, key=lambda key: key.split("/")) if matches[key]["type"] == "file")
    files = tuple(_filed(head, info, str(info["name"])[below:]) for info in infos)
    files = tuple(file for file in files if not is_junk(file.name))
    if not files:
        raise NothingToDo(f"no file matches {pattern}")
    return head, files


def _is_file(info: dict[str, Any], folder: RemotePath) -> bool:
    """A file, and not the empty object that some programs make to stand for the folder itself."""
    return info["type"] == "file" and str(info["name"]).rstrip("/") != folder.key.rstrip("/")


def _filed(folder: RemotePath, info: dict[str, Any], relative: str = "") -> RemotePath:
    """A file with what the listing says of it."""
    file = folder / (relative or _name(info))
    when = next((info[key] for key in _TIMES if info.get(key) is not None), 0)
    seconds = when.timestamp() if isinstance(when, datetime) else _seconds(when)
    return RemotePath(file.url, file.key, file.store, int(info["size"] or 0), round(seconds * 1e9))


def _seconds(when: Any) -> float:
    """A time that is no `datetime`: seconds, or text as RFC 3339 has it; 0 where it is neither."""
    try:
        return datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp() if isinstance(when, str) else float(when)
    except ValueError:
        return 0.0


def _name(info: dict[str, Any]) -> str:
    return str(info["name"]).rstrip("/").rpartition("/")[2]
