"""What the written files are called: the input's name, a suffix that fits the format, and no name given twice."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

#: Pillow's format name -> the suffixes that say so; the first is the one that is given.
SUFFIXES: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
}
#: Formats that `--format keep` writes; pictures of another format become PNG, which loses nothing.
KEPT: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "HEIF")
PICTURES: Final = frozenset(suffix for each in SUFFIXES.values() for suffix in each)
_LOSSY_PALETTE: Final = frozenset(s for name, each in SUFFIXES.items() if name not in KEPT for s in each)


def renamed(name: str, form: str) -> str:
    """``name`` with the suffix that ``--format form`` asks for; `keep` changes only what cannot be kept."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 (a bare name, a hundred thousand times)
    if form == "keep":
        return f"{stem}.png" if suffix.lower() in _LOSSY_PALETTE else name
    suffixes = SUFFIXES[form.upper()]
    return name if suffix.lower() in suffixes else stem + suffixes[0]


class Namer:
    """Gives every input a target of its own; the same inputs in the same order get the same ones again.

    Args:
        form: ``--format``.
        forget: each folder is handed over once and whole, so only its own names need to be kept in memory.
        folds_case: where the targets go, names that differ by case alone are one; folders are told apart, too.
    """

    def __init__(self, form: str, *, forget: bool, folds_case: bool = False) -> None:
        self._form, self._forget, self._folds_case = form, forget, folds_case
        self._taken: set[tuple[str, str]] = set()
        self._folders: dict[str, str] = {".": "."}
        self._folders_taken: set[str] = set()

    def assign(self, folder: str, names: Sequence[str]) -> Iterator[str]:
        """Targets for files called ``names`` that belong into ``folder`` (relative, ``.`` for the top), in that order.

        A picture whose name does not change comes first, then the other pictures, then files that do not look like any.
        """
        if self._forget:
            self._taken.clear()
        folder = self._folder(folder)
        wanted = [renamed(name, self._form) for name in names]
        first = {index: _rank(name, wanted[index]) for index, name in enumerate(names)}
        given = {index: self._claim(folder, wanted[index]) for index in sorted(first, key=lambda i: (first[i], i))}
        return ((PurePosixPath(folder) / given[index]).as_posix() for index in range(len(names)))

    def _claim(self, folder: str, name: str) -> str:
        for candidate in candidates(name):
            key = (folder, _folded(candidate) if self._folds_case else candidate)
            if key not in self._taken:
                self._taken.add(key)
                return candidate
        raise AssertionError("candidates never end")

    def _folder(self, folder: str) -> str:
        """Where the files of a folder go: there, or into one of its own where another folder has that name."""
        if not self._folds_case or folder in self._folders:
            return self._folders.get(folder, folder)
        above, _, name = folder.rpartition("/")
        within = PurePosixPath(self._folder(above or "."))
        given = next(
            path
            for candidate in candidates(name)
            if _folded(path := (within / candidate).as_posix()) not in self._folders_taken
        )
        self._folders_taken.add(_folded(given))
        self._folders[folder] = given
        return given


def candidates(name: str) -> Iterator[str]:
    """``a.jpg``, ``a-2.jpg``, ``a-3.jpg``, ... without end."""
    yield name
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    number = 2
    while True:
        yield f"{stem}-{number}{suffix}"
        number += 1


def _folded(name: str) -> str:
    """The same for names that a file system which folds case takes for one; composed, as some of them do that, too."""
    return unicodedata.normalize("NFC", name.casefold())


def _rank(name: str, wanted: str) -> int:
    if os.path.splitext(name)[1].lower() not in PICTURES:  # noqa: PTH122
        return 2
    return 0 if name == wanted else 1
