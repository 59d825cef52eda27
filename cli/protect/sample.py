"""Which of the written files ``protect`` checks, and how they come here from a store."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dadfi_fast.check.pairs import MANIFEST, Pair

if TYPE_CHECKING:
    from dadfi_fast.protect.results import Outcome
    from dadfi_fast.storage.paths import AnyPath


class CheckSample:
    """Some of the protected files, spread evenly over a run of unknown length, and the same ones in the same run.

    Args:
        size: how many.
        out: the output folder.
    """

    def __init__(self, size: int, out: AnyPath) -> None:
        self._found: list[tuple[str, AnyPath]] = []  # targets, and what they were made from
        self._size, self._out, self._seen, self._random = size, out, 0, random.Random(0)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, outcome: Outcome) -> None:
        """Take the file into the sample, or not (reservoir sampling; Vitter 1985, algorithm R)."""
        from dadfi_fast.protect.results import Done, Written

        if not (isinstance(outcome, Written) or (isinstance(outcome, Done) and outcome.status == "written")):
            return
        file = outcome.target or "", outcome.entry.source
        self._seen += 1
        if len(self._found) < self._size:
            self._found.append(file)
        elif (index := self._random.randrange(self._seen)) < self._size:
            self._found[index] = file

    @contextmanager
    def local_copies(self) -> Iterator[tuple[list[Pair], Path]]:
        """The pairs, and the folder of the protected files; what lies in a store is fetched for as long.

        Raises:
            DiskError: the store cannot be reached.
        """
        with tempfile.TemporaryDirectory(prefix="dadfi-check-") as scratch:
            top = Path(scratch)
            pairs = [
                Pair(target, _local(source, top / f"{n}-original"), _local(self._out / target, top / f"{n}-protected"))
                for n, (target, source) in enumerate(self._found)
            ]
            yield pairs, _local(self._out / MANIFEST, top / MANIFEST).parent


def _local(path: AnyPath, copy: Path) -> Path:
    """A file of this machine with what is in ``path``: itself, or a copy."""
    from dadfi_fast.storage.paths import storage_errors

    if isinstance(path, Path):
        return path
    with storage_errors(path, to="read"):
        copy.write_bytes(path.read_bytes())
    return copy
