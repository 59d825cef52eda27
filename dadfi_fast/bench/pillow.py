"""The yardstick: what anyone does in three lines with Pillow, in as many processes as we have workers.

Each file is opened and saved again at the quality that it has; nothing is protected. Imports nothing heavy, because
every process imports it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import TracebackType


class PillowPool:
    """Processes that re-save pictures; they are started once and kept, so that starting them is not timed.

    Args:
        workers: processes.
    """

    def __init__(self, workers: int) -> None:
        # forking a process that runs inference threads can hang the child
        self._pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))

    def save_all(self, pairs: Sequence[tuple[Path, Path]]) -> int:
        """Save every (source, target); says how many that were."""
        sources, targets = zip(*pairs, strict=True)
        return sum(self._pool.map(save, sources, targets))

    def __enter__(self) -> PillowPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


def save(source: Path, target: Path) -> int:
    """``Image.open(source).save(target)`` in the same format; a JPEG keeps its tables and subsampling. Says 1."""
    from PIL import Image

    with Image.open(source) as image:
        form = image.format
        quality = {"quality": "keep"} if form == "JPEG" else {}
        image.save(target, format=form, **quality)
    return 1
