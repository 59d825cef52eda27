"""The photos that a benchmark runs on: those of a folder, repeated to as many as are wanted, in a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from dadfi_fast.errors import NothingToDo, PhotoError
from dadfi_fast.images.decode import HEAD, decode, open_picture, recognise
from dadfi_fast.types import UInt8


@dataclass(frozen=True)
class Photos:
    """Files that lie in ``folder`` and nowhere else."""

    folder: Path
    files: tuple[Path, ...]
    distinct: int  # different pictures among them
    megapixels: float  # mean of the pictures
    formats: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """What rows say of them."""
        return {
            "photos": len(self.files),
            "distinct": self.distinct,
            "megapixels": round(self.megapixels, 3),
            "formats": list(self.formats),
        }


def gather(source: Path, folder: Path, *, count: int, max_pixels: int = 200_000_000) -> Photos:
    """Copy the pictures in ``source`` (and below), over and over, until ``folder`` has ``count`` of them.

    Raises:
        NothingToDo: ``source`` has no picture that can be protected.
    """
    photos: list[tuple[bytes, str, int]] = []
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        if len(photos) == count:
            break
        data = path.read_bytes()
        form = recognise(data[:HEAD])
        try:
            decoder = open_picture(data, max_pixels=max_pixels)
        except PhotoError:
            continue
        photos.append((data, form or "", decoder.width * decoder.height))
    if not photos:
        raise NothingToDo(f"no photo in {source} can be protected. Pass another folder with --photos.")
    files = _spread([data for data, _, _ in photos], folder, count)
    formats = tuple(sorted({form for _, form, _ in photos}))
    return Photos(folder, files, len(photos), sum(size for _, _, size in photos) / len(photos) / 1e6, formats)


def pictures(source: Path, *, max_pixels: int = 200_000_000) -> list[UInt8]:
    """The pixels [H, W, 3] of every picture in ``source`` and below, in the order of their names.

    Raises:
        NothingToDo: there is none.
    """
    decoded = []
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        try:
            decoded.append(decode(open_picture(path.read_bytes(), max_pixels=max_pixels), path).pixels)
        except PhotoError:
            continue
    if not decoded:
        raise NothingToDo(f"no photo in {source} can be read. Pass another folder with --photos.")
    return decoded


def _spread(pictures: Sequence[bytes], folder: Path, count: int) -> tuple[Path, ...]:
    """Suffixes are left out: a file is recognised by its content."""
    folder.mkdir(parents=True)
    files = tuple(folder / f"{number:05}" for number in range(count))
    for path, data in zip(files, islice(cycle(pictures), count), strict=True):
        path.write_bytes(data)
    return files
