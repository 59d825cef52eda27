"""``protect --profile``: the trace that a run leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dadfi_fast.protect.meter import Meter


@contextmanager
def trace_to(meter: Meter, path: Path | None, *, device: str) -> Iterator[None]:
    """Inside, what ``meter`` is told goes to the file ``path`` as well, if there is to be one."""
    from dadfi_fast.protect.trace import Trace

    if path is None:
        yield
        return
    with Trace(path, ranges=device != "cpu") as meter.trace:
        yield
    meter.trace = None
