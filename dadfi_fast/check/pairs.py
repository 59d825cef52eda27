"""Which files are checked: pairs of an original and what was written for it, and a sample of them."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dadfi_fast.errors import NothingToDo, UsageError
from dadfi_fast.storage import rows as rows_of_manifests
from dadfi_fast.storage.disk import open_regular

#: What `protect` leaves in its output folder: one JSON object a line, one line an input.
MANIFEST: Final = rows_of_manifests.MANIFEST


@dataclass(frozen=True, order=True)
class Pair:
    """A protected file and what it was made from."""

    name: str  # how reports call it: the protected file's path in its folder
    original: Path
    protected: Path


def find_pairs(protected: Path, original: Path) -> list[Pair]:
    """The pairs in two folders, in name order; or the one pair of two files.

    A manifest in ``protected`` says what was written for what; without one, files of the same relative path belong
    together, whatever their suffix.

    Raises:
        UsageError: one path is a file and the other a folder, or one does not exist.
        NothingToDo: there is no pair.
    """
    for path in (protected, original):
        if not path.exists():
            raise UsageError(f"{path} does not exist")
    if protected.is_file() != original.is_file():
        raise UsageError(f"{protected} and --original {original} must both be folders, or both files")
    if protected.is_file():
        return [Pair(protected.name, original, protected)]
    manifest = protected / MANIFEST
    pairs = sorted(_listed(manifest, original) if os.path.lexists(manifest) else _mirrored(protected, original))
    if not pairs:
        raise NothingToDo(f"no file in {protected} has an original in {original}. Pass the folder that was protected.")
    return pairs


def draw(pairs: Sequence[Pair], *, n: int | None, seed: int = 0) -> list[Pair]:
    """``n`` of the pairs (all where ``n`` is None or too large), in name order; a seed draws the same ones again."""
    if n is None or n >= len(pairs):
        return sorted(pairs)
    return sorted(random.Random(seed).sample(sorted(pairs), n))


def _listed(manifest: Path, original: Path) -> Iterator[Pair]:
    """The pairs of the manifest's rows; of several rows for one target the last counts, as it was written last.

    A manifest may come from anybody: what lies outside of both folders is not opened. Links in ``original`` are the
    user's own, those in the folder of the manifest are not followed out of it.
    """
    listed = {row["target"]: row for row in rows(manifest) if row["status"] == "written" and row.get("target")}
    folder = manifest.parent.resolve()
    for target, row in listed.items():
        written = manifest.parent / target
        source = _below(original, row["source"])
        if source is not None and written.resolve().is_relative_to(folder) and written.is_file() and source.is_file():
            yield Pair(_shown(str(target)), source, written)


def _below(folder: Path, source: str) -> Path | None:
    """A source of a manifest, relative or not, where it lies in the folder."""
    path = Path(os.path.normpath(folder.absolute() / source))
    if not path.is_relative_to(os.path.normpath(folder.absolute())):
        return None
    return folder / source if not Path(source).is_absolute() else path


def rows(manifest: Path) -> Iterator[rows_of_manifests.Row]:
    """The manifest's rows, with ``source`` and ``status``; other lines are none.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        file = os.fdopen(open_regular(manifest), "rb")
    except OSError as error:
        raise UsageError(
            f"cannot read {manifest}: {error.strerror}. Move it away, or choose another folder."
        ) from error
    with file:
        yield from (line.row for line in rows_of_manifests.read_lines(file, whole=False) if line.row)


def _mirrored(protected: Path, original: Path) -> Iterator[Pair]:
    """Pairs by relative path: the same name, or the one name in the same folder that differs in its suffix."""
    exact = {path.relative_to(original): path for path in _files(original)}
    stems: dict[Path, list[Path]] = defaultdict(list)
    for relative, path in exact.items():
        stems[relative.with_suffix("")].append(path)
    for written in _files(protected):
        relative = written.relative_to(protected)
        alike = [exact[relative]] if relative in exact else stems[relative.with_suffix("")]
        if len(alike) == 1 and alike[0] != written and _is_picture(written):
            yield Pair(_shown(relative.as_posix()), alike[0], written)


def _shown(name: str) -> str:
    """A name that can be printed, also where the file system's bytes are no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))


def _is_picture(path: Path) -> bool:
    """Whether the file's first bytes are those of a picture, whatever its name; it may still be damaged."""
    from PIL import Image

    try:
        with Image.open(path):
            return True
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
