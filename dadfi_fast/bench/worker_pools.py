"""What it costs to share the work out: one process, several, and a Ray cluster on this machine, disk to disk.

All have the same number of threads in all. Workers are started before the clock and stay for all rounds; how long that
took stands in the rows.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from dadfi_fast.bench.photos import Photos
from dadfi_fast.bench.rows import Row, package, ratio, summarise
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.bench.timing import Case, run_rounds
from dadfi_fast.errors import DadfiError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.pool import WorkerPool, WorkerReady
from dadfi_fast.protect.distributed.processes import Processes
from dadfi_fast.protect.distributed.ray import Ray
from dadfi_fast.protect.distributed.run import protect_distributed
from dadfi_fast.protect.distributed.worker import ContextFactory, GeneratorContextFactory
from dadfi_fast.protect.manifest import NAME
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.pipeline import DISK_THREADS, protect
from dadfi_fast.protect.summary import Summary

#: Name of the cases, and provider of the one that the others are compared with.
CASE: Final = "engine"
LOCAL: Final = "one process"


def cases(
    photos: Photos,
    bench_setup: BenchSetup,
    stack: ExitStack,
    *,
    processes: int = 2,
    ray: bool = True,
    make: ContextFactory | None = None,
) -> list[Case]:
    """One case for each engine; Ray's is left out where Ray is not installed.

    Args:
        photos: what is protected in each round.
        bench_setup: the generator, the detector, and the config with the number of threads and a folder to write to.
        stack: ends the workers.
        processes: so many share the threads.
        ray: False leaves it out.
        make: makes the workers' kits; None makes those that ``bench_setup`` names.
    """
    config = replace(bench_setup.config, sources=(str(photos.folder),))
    each = replace(config, workers=max(1, config.threads // processes))
    make = make or _recipe(bench_setup)
    facts = {
        **photos.facts(),
        "threads": config.threads,
        "detector": bench_setup.detector.name,
        "verify": config.verify,
    }

    def alone(config: ProtectConfig) -> Summary:
        return protect(config, detector=bench_setup.detector, attack=bench_setup.attack, facts=bench_setup.facts)

    result = [_case(LOCAL, bench_setup.driver, _at(config, "local"), alone, facts)]
    here = _at(each, "processes")
    result.append(
        _shared(f"{processes} processes", bench_setup, here, Processes([here] * processes, make), stack, facts)
    )
    if ray and importlib.util.find_spec("ray") is not None:
        here = _at(each, "ray")
        pool = Ray(here, make, count=processes)
        result.append(
            _shared(f"{processes} actors of Ray", bench_setup, here, pool, stack, {**facts, "ray": package("ray")})
        )
    return result


def compare(timed: Sequence[Case], *, repeats: int, tick: Callable[[], object] = lambda: None) -> list[Row]:
    """A row for each case, then for each engine its ratio to one process, round by round.

    Args:
        timed: as `cases` makes them.
        repeats: rounds that count.
        tick: called after every case of every round; there are ``repeats + 1`` rounds.
    """
    rates = run_rounds(timed, repeats=repeats, tick=tick)
    alone, *others = timed
    rows = [
        summarise(case.name, case.provider, rates[case.key], unit=case.unit, driver=case.driver, config=case.config)
        for case in timed
    ]
    for case in others:
        provider = f"{case.provider} / {alone.provider}"
        rows.append(ratio(CASE, rates[case.key], rates[alone.key], provider=provider, config=case.config))
    return rows


def _shared(
    provider: str,
    bench_setup: BenchSetup,
    config: ProtectConfig,
    pool: WorkerPool,
    stack: ExitStack,
    facts: dict[str, object],
) -> Case:
    stack.enter_context(closing(pool))
    seconds = _started(pool, config.folder)
    meter = Meter(compute=pool.size * pool.threads, disk=pool.size * DISK_THREADS, generators=pool.size)

    def together(config: ProtectConfig) -> Summary:
        return protect_distributed(pool, config, facts=bench_setup.facts, meter=meter)

    return _case(provider, bench_setup.driver, config, together, {**facts, "start_seconds": round(seconds, 2)})


def _case(
    provider: str, driver: str, config: ProtectConfig, run: Callable[[ProtectConfig], Summary], facts: dict[str, object]
) -> Case:
    def work() -> int:
        summary = run(config)
        if summary.interrupted:
            raise KeyboardInterrupt
        if summary.failures:
            raise DadfiError(f"{summary.failures[0][0]} could not be protected: {summary.failures[0][1]}")
        return summary.written + summary.copied

    return Case(CASE, provider, driver, work, config=dict(facts), tidy=lambda: shutil.rmtree(config.folder))


def _started(pool: WorkerPool, out: Path) -> float:
    """Seconds until all workers are ready; they are told of a run that has begun in ``out``."""
    out.mkdir(parents=True)
    (out / NAME).touch()
    start = time.perf_counter()
    pool.start()
    while len(pool.idle) < pool.size:
        for event in pool.events(0.2):
            if not isinstance(event, WorkerReady):
                raise DadfiError(f"a worker did not start: {event}")
            pool.idle.add(event.worker)
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    return seconds


def _at(config: ProtectConfig, name: str) -> ProtectConfig:
    """With an output folder of its own."""
    return replace(config, out=config.folder / name)


def _recipe(bench_setup: BenchSetup) -> GeneratorContextFactory:
    backend = bench_setup.attack.backend
    return GeneratorContextFactory(
        generator=str(backend.generator_file.onnx),
        sha256=backend.generator_file.sha256,
        backend=backend.name,
        detector=bench_setup.detector.name,
        detector_model=None,
    )
