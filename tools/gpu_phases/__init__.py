"""The phases of `tools/gpu_run.py`, each run in a process of its own."""

from __future__ import annotations

import importlib
import time

from gpu_phases.plan import Plan


class Clock:
    """The budget of a phase."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left."""
        return self._end - time.monotonic()


def run_phase(name: str, plan: Plan, seconds: float, family: str | None, speedup: str | None) -> None:
    """Run the phase ``name`` for ``seconds`` at most; ``family`` and ``speedup`` are for trainings."""
    module = importlib.import_module(f"gpu_phases.{name.partition('-')[0]}")
    print(f"== {name} {family or ''}", flush=True)
    if family:
        module.run(plan, Clock(seconds), family, speedup)
    else:
        module.run(plan, Clock(seconds))
