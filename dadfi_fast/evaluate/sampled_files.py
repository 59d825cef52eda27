"""The pictures that an experiment draws, as the files that they are, in a folder of their own."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from dadfi_fast.errors import DataError
from dadfi_fast.evaluate.experiment import Setup
from dadfi_fast.evaluate.sampled_arrays import archives, splits
from dadfi_fast.files import sha256
from dadfi_fast.training.data import SUFFIXES

#: A picture: the archive or folder that it lies in, and its name there.
Member: TypeAlias = tuple[Path, str]


class SampledFiles:
    """The sample of ``setup`` in ``folder``, byte for byte; the same pictures for the same seed.

    Raises:
        DataError: a source cannot be read, or there is no picture.
    """

    def __init__(self, setup: Setup, folder: Path) -> None:
        self._setup, self.folder = setup, folder
        members = [(source, name) for source in setup.sources for name in _names(source)]
        if not members:
            where = ", ".join(map(str, setup.sources))
            raise DataError(f"no image found in {where}. Pass tar archives or folders of images.")
        chosen = np.random.default_rng(setup.seed).permutation(len(members))[: setup.sample]
        drawn = [members[i] for i in sorted(chosen)]
        self._names = [PurePosixPath(name).name for _, name in drawn]
        _lay_out(drawn, folder)

    def __len__(self) -> int:
        return len(self._names)

    @cached_property
    def sha256(self) -> str:
        """A hash of the pictures, byte for byte, in their order."""
        return hashlib.sha256("".join(sha256(path) for path in sorted(self.folder.iterdir())).encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """What every row says of them: archives with their hashes, split, n."""
        return {**self._facts, "n": len(self)}

    @cached_property
    def _facts(self) -> dict[str, Any]:
        table = self._setup.attributes
        return {"data": archives(self._setup.sources), "split": splits(table, self._names) if table else None}


def _names(source: Path) -> list[str]:
    """The pictures in an archive or a folder, in name order."""
    if source.is_dir():
        found = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    elif source.is_file() and tarfile.is_tarfile(source):
        with tarfile.open(source) as tar:
            found = [member.name for member in tar.getmembers() if member.isfile()]
    else:
        raise DataError(f"{source} is neither a folder nor a tar archive. Pass one of these with --data.")
    return sorted(name for name in found if name.lower().endswith(SUFFIXES))


def _lay_out(members: Sequence[Member], folder: Path) -> None:
    """Copy the pictures; a number before each name keeps apart what has one name in two sources."""
    folder.mkdir(parents=True)
    for number, (path, name) in enumerate(_opened(members)):
        target = folder / f"{number:05}-{PurePosixPath(name).name}"
        with target.open("wb") as file:
            shutil.copyfileobj(path, file)


def _opened(members: Sequence[Member]) -> Iterator[tuple[Any, str]]:
    for source in dict.fromkeys(source for source, _ in members):
        names = [name for each, name in members if each == source]
        if source.is_dir():
            for name in names:
                with (source / name).open("rb") as file:
                    yield file, name
            continue
        with tarfile.open(source) as tar:
            for name in names:
                yield tar.extractfile(name), name
