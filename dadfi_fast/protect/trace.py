"""What every thread did when: a file for Perfetto (https://ui.perfetto.dev) or chrome://tracing.

The format is Chrome's "Trace Event Format", as an array of complete events (``"ph": "X"``), times in microseconds. Both
viewers also take an array that has no end, which is what a run leaves that was killed.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Final

from dadfi_fast.errors import DiskError

#: Spans that are written, about 140 bytes each: viewers become slow beyond. The rest is counted.
MOST: Final = 2_000_000


class Trace:
    """Writes spans as they end; memory does not grow with their number. Safe to use from several threads.

    Args:
        path: of the file; it is made anew.
        ranges: mark the spans for NVIDIA's profilers, too, where the package ``nvtx`` is installed.
        most: spans that are written.

    Raises:
        DiskError: the file cannot be written; also from `span` and `close`.
    """

    def __init__(self, path: Path, *, ranges: bool = False, most: int = MOST) -> None:
        self.path, self._left, self._dropped = path, most, 0
        self._nvtx = _nvtx() if ranges else None
        self._threads: dict[int, int] = {}  # Python's number of a thread -> ours, which is small and stays
        self._lock = threading.Lock()
        self._start = time.perf_counter()
        with self._disk():
            self._file = path.open("w", encoding="utf-8", buffering=1 << 16)
        self._write("[\n", {"name": "process_name", "ph": "M", "args": {"name": "dadfi-fast protect"}})

    def begin(self, stage: str) -> None:
        """This thread begins to work; `span` ends what was begun."""
        if self._nvtx is not None:
            self._nvtx.push_range(stage, domain="dadfi-fast")

    def span(self, stage: str, seconds: float, *, kind: str, begun: bool, **facts: int | str) -> None:
        """This thread has worked on ``stage`` for ``seconds``, until now.

        Args:
            stage: what the span is called.
            seconds: how long it was.
            kind: its category.
            begun: `begin` was called for it.
            facts: what is shown of it.
        """
        end = time.perf_counter()
        if begun and self._nvtx is not None:
            self._nvtx.pop_range(domain="dadfi-fast")
        event: dict[str, object] = {
            "name": stage,
            "cat": kind,
            "ph": "X",
            "dur": round(seconds * 1e6, 1),
            "args": facts,
        }
        with self._lock:
            if self._left <= 0:
                self._dropped += 1
                return
            self._left -= 1
            event |= {"ts": round((end - seconds - self._start) * 1e6, 1), "tid": self._thread()}
            self._write(",\n", event)

    def close(self) -> None:
        """End the file."""
        with self._lock:
            if self._dropped:
                at = {"ts": round((time.perf_counter() - self._start) * 1e6, 1), "tid": 0, "s": "g"}
                self._write(",\n", {"name": f"{self._dropped} spans more were left out", "ph": "i", **at})
            with self._disk(), self._file as file:
                file.write("\n]\n")

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _thread(self) -> int:
        ident = threading.get_ident()
        if ident not in self._threads:
            self._threads[ident] = number = len(self._threads)
            name = {"name": threading.current_thread().name}
            self._write(",\n", {"name": "thread_name", "ph": "M", "tid": number, "args": name})
        return self._threads[ident]

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(f"cannot write --profile {self.path}: {error.strerror}. Choose another file.") from error

    def _write(self, before: str, event: dict[str, object]) -> None:
        with self._disk():
            self._file.write(before + json.dumps({"pid": os.getpid(), **event}))


def _nvtx() -> ModuleType | None:
    """The package ``nvtx``; None where it is not installed."""
    try:
        return importlib.import_module("nvtx")
    except ImportError:
        return None
