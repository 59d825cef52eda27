"""Where the page goes: checked before a run of minutes, and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dadfi_fast.errors import DiskError, UsageError
from dadfi_fast.files import atomic_write

#: A page has one of these, so that a slip of the hand overwrites no photo.
SUFFIXES: Final = (".html", ".htm")


def prepare(path: Path) -> None:
    """See that a page can be written to ``path``; its folder is made where it is missing.

    Raises:
        UsageError: the name does not end as that of a page, or is a folder.
        DiskError: the folder cannot be made or written to.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--report {path} does not end with {' or '.join(SUFFIXES)}. Pass the name of an HTML file.")
    if path.is_dir():
        raise UsageError(f"--report {path} is a folder. Pass a file name inside it.")
    temporary = path.with_name(f".dadfi-{os.getpid()}-report.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error}. Choose another --report.") from error


def write(path: Path, text: str) -> int:
    """Write the page, in place of an earlier one; returns its bytes.

    Raises:
        DiskError: it cannot be written; an earlier page is left as it was.
    """
    data = text.encode()
    try:
        atomic_write(path, data)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error}. Choose another --report.") from error
    return len(data)
