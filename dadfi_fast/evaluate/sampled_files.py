"""The pictures that an experiment draws, as the files that they are, in a folder of their own."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from dadfi_fast.errors import DataError
from dadfi_fast.evaluate.experiment import Setup
from dadfi_fast.evaluate.sampled_arrays import archives, splits
from dadfi_fast.files import open_members, sha256
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
    with open_members(source, SUFFIXES) as (names, _):
        return names


def _lay_out(members: Sequence[Member], folder: Path) -> None:
    """Copy the pictures; a number before each name keeps apart what has one name in two sources."""
    folder.mkdir(parents=True)
    numbered = enumerate(members)
    for source, group in itertools.groupby(numbered, key=lambda item: item[1][0]):
        with open_members(source, SUFFIXES) as (_, read):
            for number, (_, name) in group:
                (folder / f"{number:05}-{PurePosixPath(name).name}").write_bytes(read(name))
