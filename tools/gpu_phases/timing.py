"""Rates of calls, on a GPU by events and on a CPU by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

WARM_UP = 3


def rates(call: Callable[[], object], units: int, device: str, *, seconds: float, most: int = 200) -> list[float]:
    """Units a second of each call of ``call``, which gets through ``units``, for about ``seconds``."""
    result: list[float] = []
    for _ in range(WARM_UP if device != "cpu" else 1):
        call()
    end = time.monotonic() + seconds
    while len(result) < most and (not result or time.monotonic() < end):
        result.append(units / _seconds(call, device))
    return result


def _seconds(call: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    call()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after)) / 1e3
