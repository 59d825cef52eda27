"""Find the input files: files, folders (recursively) and globs, lazily and in a fixed order.

Sources in an object store are listed in the same order as on disk; see `dadfi_fast.storage.listing`.
"""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from typing import Final

from dadfi_fast.errors import DiskError, NothingToDo, PhotoError, UsageError
from dadfi_fast.images.naming import Namer
from dadfi_fast.protect.results import Entry, Failed
from dadfi_fast.storage import listing
from dadfi_fast.storage.disk import folds_case
from dadfi_fast.storage.paths import AnyPath, RemotePath, parse_path

#: Files that operating systems leave in photo folders; skipped silently.
JUNK: Final = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", ".picasa.ini", ".localized"})
JUNK_FOLDERS: Final = frozenset({"__macosx", "@eadir", ".git", ".svn", ".hg", ".thumbnails", ".trashes"})
#: Prefixes of our own files and folders: the manifest, its shards and temporary files.
OURS: Final = ("dadfi-manifest", ".dadfi-")


@dataclass(frozen=True)
class Root:
    """One SOURCE: a folder, or files whose paths are mirrored relative to ``folder``."""

    folder: AnyPath
    files: tuple[AnyPath, ...] | None  # None: everything in the folder


def discover(sources: Sequence[str], out: AnyPath, *, form: str = "keep") -> Iterator[Entry | Failed]:
    """Yield every input with its path under ``out``; an unreadable folder becomes a failure of its own.

    Raises:
        UsageError: a source does not exist, or writing to ``out`` could touch an input.
        NothingToDo: a glob matches nothing.
    """
    roots = [_root(source) for source in dict.fromkeys(sources)]
    for root in roots:
        _refuse_overlap(root, out)
    return _entries(roots, out, form)


class Originals:
    """The folders that hold inputs, known by device and inode: whatever path leads to them, nothing is written there.

    They are looked up when an output folder is met that was there before the run: only such a one can be a link to an
    input folder, or a mount of one.

    Args:
        sources: what the user named.
        out: the output folder.
    """

    def __init__(self, sources: Sequence[str], out: AnyPath) -> None:
        self._sources, self._out = sources, out
        self._lock = threading.Lock()

    def refuse(self, folder: Path) -> None:
        """Refuse to write to a folder of the inputs.

        Raises:
            DiskError: ``folder`` is one.
        """
        with self._lock:
            original = self._folders.get(_identity(folder))
        if original is not None:
            raise DiskError(
                f"cannot write to {folder}: through a link or a mount it is {original}, which holds photos to protect."
                " Choose another --out; inputs are never modified."
            )

    @cached_property
    def _folders(self) -> dict[tuple[int, int] | None, Path]:
        kept = _Kept(self._out)
        folders: dict[tuple[int, int] | None, Path] = {}
        for source in dict.fromkeys(self._sources):
            try:
                root = _root(source)
            except (UsageError, NothingToDo):  # gone since the run began
                continue
            if isinstance(root.folder, Path):
                paths = (root.folder / relative for relative, _ in _listed(root, kept))
                folders.update((identity, path) for path in paths if (identity := _identity(path)))
        return folders


def _entries(roots: Sequence[Root], out: AnyPath, form: str) -> Iterator[Entry | Failed]:
    kept = _Kept(out)
    absolute = len({root.folder.resolve() for root in roots}) > 1
    folds = isinstance(out, Path) and folds_case(out)
    namer = Namer(form, forget=len(roots) == 1 and roots[0].files is None, folds_case=folds)
    for root in roots:
        for relative, files in _listed(root, kept):
            if isinstance(files, OSError):
                at = root.folder / relative
                yield Failed(Entry(at, _name(at, root, absolute), "", 0, 0), "find", files)
                continue
            targets = namer.assign(relative.as_posix(), [path.name for path in files])
            for path, target in zip(files, targets, strict=True):
                yield _entry(path, _name(path, root, absolute), target, kept, named=root.files is not None)


def _entry(path: AnyPath, name: str, target: str, kept: _Kept, *, named: bool) -> Entry | Failed:
    if isinstance(path, RemotePath):
        return Entry(path, name, target, path.size or 0, path.mtime_ns, named)
    try:
        facts = path.stat()
    except OSError as error:  # deleted since it was listed
        return Failed(Entry(path, name, target, 0, 0), "find", error)
    if kept.is_link_into_out(path):
        reason = PhotoError(f"{path} is a link into --out, where files are replaced. Choose another --out.")
        return Failed(Entry(path, name, target, 0, 0), "find", reason)
    return Entry(path, name, target, facts.st_size, facts.st_mtime_ns, named)


def _name(path: AnyPath, root: Root, absolute: bool) -> str:
    return path.absolute().as_posix() if absolute else _below(path, root.folder)


def _below(path: AnyPath, folder: AnyPath) -> str:
    """The path relative to a folder, both on disk or both in an object store."""
    if isinstance(path, RemotePath):
        assert isinstance(folder, RemotePath)
        return path.relative_to(folder).as_posix()
    assert isinstance(folder, Path)
    return path.relative_to(folder).as_posix()


def _is_below(path: AnyPath, folder: AnyPath) -> bool:
    """Whether the path is that of the folder or of something in it."""
    if isinstance(path, RemotePath):
        return isinstance(folder, RemotePath) and path.is_relative_to(folder)
    return isinstance(folder, Path) and path.is_relative_to(folder)


def _root(source: str) -> Root:
    path = parse_path(source)
    if isinstance(path, RemotePath):
        return Root(*listing.root(path, is_junk=_is_junk))
    source = str(path)  # what a file:// URL stands for
    if path.is_dir():
        return Root(path, None)
    if path.is_file():
        return Root(path.parent, (path,))
    if glob.has_magic(source):
        return _glob(source)
    raise UsageError(f"{source} does not exist. SOURCE is a file, a folder or a glob such as 'photos/**/*.jpg'")


def _glob(pattern: str) -> Root:
    parts = PurePath(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    files = sorted(Path(each) for each in glob.iglob(pattern, recursive=True))  # noqa: PTH207 (one string, ** in it)
    files = [path for path in files if path.is_file() and not _is_junk(path.name)]
    if not files:
        raise NothingToDo(f"no file matches {pattern}")
    return Root(Path(*parts[:fixed]), tuple(files))


def _refuse_overlap(root: Root, out: AnyPath) -> None:
    """Refuse inputs below ``out``: a target could overwrite another input."""
    folder, target = root.folder.resolve(), out.resolve()
    if type(folder) is not type(target):  # one on a disk, one in a store
        return
    if folder == target and root.files is None:
        raise UsageError(f"--out {out} is also a SOURCE, and inputs are never modified. Choose another --out.")
    paths = (folder,) if root.files is None else tuple(file.resolve() for file in root.files)
    for path in paths:
        if _is_below(path, target):
            raise UsageError(f"{path} is inside --out {out}, and inputs are never modified. Choose another --out.")
    _refuse_same(root, out)


def _refuse_same(root: Root, out: AnyPath) -> None:
    """The same by device and inode: a mount has another path than what it shows."""
    identity = None if isinstance(out, RemotePath) else _identity(out)
    if identity is None:
        return
    folders = {root.folder} if root.files is None else {file.parent for file in root.files}
    for folder in folders:
        resolved = folder.resolve()
        if isinstance(resolved, Path) and identity in map(_identity, (resolved, *resolved.parents)):
            raise UsageError(
                f"--out {out} is {folder}, or a folder above it, under another path, and inputs are never modified."
                " Choose another --out."
            )


class _Kept:
    """Which folders are entered: no junk, never the output folder (by any path), no cycles through links."""

    def __init__(self, out: AnyPath) -> None:
        self._out = out

    def enter(self, folder: os.DirEntry[str], way: frozenset[tuple[int, int]]) -> tuple[int, int] | None:
        if _is_junk_folder(folder.name) or (folder.is_symlink() and self.is_link_into_out(Path(folder.path))):
            return None
        identity = _identity(folder.path)
        # The output folder is looked up now: the run may have made it after the walk began.
        out = None if isinstance(self._out, RemotePath) else _identity(self._out)
        return None if identity is None or identity in way or identity == out else identity

    def is_link_into_out(self, path: Path) -> bool:
        """Whether a path of the inputs is a link to what lies in the output folder."""
        if isinstance(self._out, RemotePath) or not path.is_symlink():
            return False
        return path.resolve().is_relative_to(self._out.resolve())

    def enter_remote(self, folder: RemotePath) -> bool:
        """The same of a folder in a store."""
        return not _is_junk_folder(folder.name) and folder != self._out


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _listed(root: Root, kept: _Kept) -> Iterator[tuple[PurePosixPath, Sequence[AnyPath] | OSError]]:
    """Yield folders (relative) and their files in name order, with one folder in memory at a time."""
    if root.files is None and isinstance(root.folder, RemotePath):
        yield from listing.walk(root.folder, PurePosixPath(), enter=kept.enter_remote, is_junk=_is_junk)
        return
    if root.files is None:
        assert isinstance(root.folder, Path)
        start = _identity(root.folder)
        yield from _walk(root.folder, PurePosixPath(), kept, frozenset({start} if start else ()))
        return
    for path in root.files:
        yield PurePosixPath(_below(path.parent, root.folder)), [path]


def _walk(
    folder: Path, relative: PurePosixPath, kept: _Kept, way: frozenset[tuple[int, int]]
) -> Iterator[tuple[PurePosixPath, list[Path] | OSError]]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        # What is neither file nor folder (a socket, a dangling link) is not there for us; opening a pipe would hang.
        files = [folder / entry.name for entry in entries if entry.is_file() and not _is_junk(entry.name)]
        below = [(entry.name, here) for entry in entries if entry.is_dir() and (here := kept.enter(entry, way))]
    except OSError as error:
        yield relative, error
        return
    yield relative, files
    for name, here in below:
        yield from _walk(folder / name, relative / name, kept, way | {here})


def _is_junk_folder(name: str) -> bool:
    return name.lower() in JUNK_FOLDERS or name.startswith(OURS)


def _is_junk(name: str) -> bool:
    return name.lower() in JUNK or name.startswith("._") or name.startswith(OURS)
