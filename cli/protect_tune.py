"""What a run of ``protect`` is set to, and the trace that it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dadfi_fast.attacks.base import Attack
    from dadfi_fast.faces.detector import Detector
    from dadfi_fast.protect.auto import Settings
    from dadfi_fast.protect.config import ProtectConfig
    from dadfi_fast.protect.meter import Meter


def settled(config: ProtectConfig, *, total: int | None, detector: Detector, attack: Attack) -> Settings:
    """The numbers that are ``auto``; a trial on the first files where there are many.

    Args:
        config: what is asked for.
        total: inputs, where they have been counted.
        detector: the one of the run.
        attack: the one of the run.
    """
    from dadfi_fast.protect import auto
    from dadfi_fast.protect.discover import discover

    def first() -> Iterator[Any]:
        return discover(config.sources, config.out, form=config.format)

    known = sum(1 for _ in islice(first(), auto.FEWEST)) if total is None else total
    return auto.settle(config, left=auto.left(config, known), first=first, detector=detector, attack=attack)


@contextmanager
def traced(meter: Meter, path: Path | None, *, device: str) -> Iterator[None]:
    """Inside, what ``meter`` is told goes to the file ``path`` as well, if there is to be one."""
    from dadfi_fast.protect.trace import Trace

    if path is None:
        yield
        return
    with Trace(path, ranges=device != "cpu") as meter.trace:
        yield
    meter.trace = None
