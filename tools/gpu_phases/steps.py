"""Training steps a second of each family, alone on the card: as PyTorch runs them, as CUDA graphs, and compiled."""

from __future__ import annotations

import gc
import json
import math
import time

import torch

from dadfi_fast.bench.rows import summarise
from dadfi_fast.training.data import Faces
from dadfi_fast.training.loop import numbers, step_rng
from gpu_phases import Clock
from gpu_phases.data import faces
from gpu_phases.families import start_of, synchronize, trainer_of
from gpu_phases.plan import FAMILIES, Plan
from gpu_phases.results import Notes

#: The parts of an STGAN's step are no calls of its module, so that there is nothing to compile.
COMPILED = ("stargan", "stargan2")
#: Steps before the clock runs: the first ones choose kernels, and are what graphs are captured in.
WARM_UP = 6
FILE = "steps.json"


def run(plan: Plan, clock: Clock) -> None:
    """Measure, those that matter most first; what was found is written down after each."""
    notes, speeds = Notes(plan), dict[str, dict[str, float]]()
    train, _ = faces(plan)
    ways = ("eager", "graphs", "compile") if plan.on_gpu else ("eager",)
    for speedup in ways:
        for family in COMPILED if speedup == "compile" else FAMILIES:
            if clock.left() < 5 and plan.on_gpu:
                return
            try:
                rates, losses = _measure(plan, family, speedup, train)
            except Exception as error:  # out of memory, or something that this card cannot do
                print(f"{family}, {speedup}: {error}", flush=True)
                continue
            facts = {"sizes": plan.sizes, "losses": losses, "peak_gib": _peak(plan)} | notes.gpu
            row = summarise(
                f"steps {family}-{plan.image_size}", f"{speedup}-{plan.device}", rates, unit="steps/s",
                driver=notes.driver, config=facts,
            )  # fmt: skip
            notes.rows([row])
            if all(map(math.isfinite, losses.values())):
                speeds.setdefault(family, {})[speedup] = row.p50
                (plan.work / FILE).write_text(json.dumps(speeds), encoding="utf-8")


def fastest(plan: Plan, family: str) -> tuple[str, float]:
    """The speedup that was measured to be the fastest, and its steps a second; eager and 0 where nothing was."""
    path = plan.work / FILE
    speeds = json.loads(path.read_text(encoding="utf-8")).get(family, {}) if path.exists() else {}
    return max(speeds.items(), key=lambda item: item[1]) if speeds else ("eager", 0.0)


def _measure(plan: Plan, family: str, speedup: str, train: Faces) -> tuple[list[float], dict[str, float]]:
    """Steps a second in five rounds, and the last losses."""
    if plan.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    trainer = trainer_of(plan, family, train, speedup, start_of(plan, family)[1])
    warm_up, steps = (WARM_UP, 5) if plan.on_gpu else (0, 1)
    rates, done, losses = [], 0, {}
    for count in (warm_up, *[steps] * (5 if plan.on_gpu else 1)):
        synchronize(plan.device)
        start = time.perf_counter()
        for _ in range(count):
            losses = trainer.step(done, step_rng(plan.seed, done))
            done += 1
        synchronize(plan.device)
        rates.append(count / (time.perf_counter() - start))
    if speedup in ("graphs", "compile") and not trainer.graphs.enabled:
        raise RuntimeError("no CUDA graphs could be captured")
    values = numbers(losses)
    del trainer
    gc.collect()
    if plan.on_gpu:
        torch.cuda.empty_cache()
    return rates[1:], values


def _peak(plan: Plan) -> float:
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if plan.on_gpu else 0.0
