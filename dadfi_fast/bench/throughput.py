"""How fast photos are protected: the generator, memory to memory, disk to disk; never one figure for another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.base import Backend
from dadfi_fast.bench import decoders, end_to_end, generator, stages, worker_pools
from dadfi_fast.bench.photos import gather
from dadfi_fast.bench.pillow import PillowPool
from dadfi_fast.bench.rows import Row, ratio, summarise
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.bench.timing import Case, Key, run_rounds
from dadfi_fast.protect.assembly import Assembly
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.crop import crops
from dadfi_fast.protect.malloc import tune_malloc
from dadfi_fast.protect.pipeline import DISK_THREADS
from dadfi_fast.protect.prefetch import pools
from dadfi_fast.types import Float32


@dataclass(frozen=True, eq=False)
class Throughput:
    """Everything set up, nothing timed yet."""

    cases: tuple[Case, ...]
    backends: generator.ComparedBackends
    crops: Float32  # [B, 3, S, S], those of the photos

    def run(self, *, repeats: int, tick: Callable[[], object] = lambda: None) -> list[Row]:
        """Time every case; rows in the order of the cases, then the ratios.

        Args:
            repeats: rounds that count.
            tick: called after every case of every round; there are ``repeats + 1`` rounds.
        """
        rates = run_rounds(self.cases, repeats=repeats, tick=tick)
        shares = stages.shares({key: median(rates[key]) for key in rates if key[0].startswith(stages.PREFIX)})
        slowest = max(shares.values())
        rows = []
        for case in self.cases:
            share = shares.get(case.key)
            more = {} if share is None else {"share": round(share, 4), "slowest": share == slowest}
            facts = {**case.config, **more}
            rows.append(
                summarise(case.name, case.provider, rates[case.key], unit=case.unit, driver=case.driver, config=facts)
            )
        return [*rows, *self._ratios(rates)]

    def _ratios(self, rates: dict[Key, list[float]]) -> Iterator[Row]:
        known = {case.name: case for case in self.cases}
        for above, below in (("disk", "copy"), ("disk", "pillow"), ("disk", "cmua"), ("memory", "copy")):
            one, other = known[above], known[below]
            yield ratio(
                f"{above} / {below}",
                rates[one.key],
                rates[other.key],
                provider=f"{one.provider} / {other.provider}",
                config=one.config,
            )
        yield from self._overlap(known["disk"], rates)
        yield from decoders.ratios(rates, self.cases)
        yield from self._engines(rates)
        if self.backends.torch is not None:
            yield from self._against(self.backends.torch, rates)

    def _engines(self, rates: dict[Key, list[float]]) -> Iterator[Row]:
        """Every way to share the work out, against one process."""
        alone = rates.get((worker_pools.CASE, worker_pools.LOCAL), [])
        for case in self.cases:
            if case.name == worker_pools.CASE and case.provider != worker_pools.LOCAL:
                provider = f"{case.provider} / {worker_pools.LOCAL}"
                yield ratio(worker_pools.CASE, rates[case.key], alone, provider=provider, config=case.config)

    def _overlap(self, disk: Case, rates: dict[Key, list[float]]) -> Iterator[Row]:
        """The time of a photo from disk to disk, against that of the stages, each of which had all cores to itself.

        Against their sum: 1 is a run in which no core ever waits. Against the slowest: 1 is one in which all other
        stages are free, as where they run on another device.
        """
        spent = stages.seconds({key: rates[key] for key in rates if key[0].startswith(stages.PREFIX)})
        whole = [1 / rate for rate in rates[disk.key]]
        for name, part in (("the sum of the stages", sum), ("the slowest stage", max)):
            against = [part(each) for each in spent]
            yield ratio(f"time: disk / {name}", whole, against, provider=disk.provider, config=disk.config)

    def _against(self, torch: Backend, rates: dict[Key, list[float]]) -> Iterator[Row]:
        for backend in (each for each in self.backends.every if each is not torch):
            apart = generator.largest_difference(backend, torch, self.crops)
            for batch in generator.BATCHES:
                name = generator.case_name(batch)
                yield ratio(
                    f"{name} / torch",
                    rates[name, backend.describe],
                    rates[name, torch.describe],
                    provider=f"{backend.describe} / {torch.describe}",
                    config={"batch": batch, "largest_difference_levels": round(apart, 4)},
                )


@dataclass(frozen=True, kw_only=True)
class ThroughputSetup:
    """What a benchmark runs on."""

    photos: Path  # a folder of pictures; they are repeated to ``count``
    parts: Assembly
    count: int = 32  # photos in a round
    workers: int | None = None  # threads, and processes of the Pillow control; those of a run of protect where None
    engines: bool = False  # also several processes, and Ray on this machine


@contextmanager
def prepare(setup: ThroughputSetup, scratch: Path) -> Iterator[Throughput]:
    """Set up the cases; what they write to disk goes to the folder ``scratch``.

    Raises:
        NothingToDo: there is no picture in ``setup.photos``.
        BackendMissing: the named backend cannot run here.
    """
    tune_malloc()  # as in a run of protect
    parts, (device, _), (detector, _) = setup.parts, setup.parts.chosen_device, setup.parts.chosen_detector
    backends = generator.compared_backends(parts.generator_file, name=parts.chosen_backend[0].name, device=device)
    material = gather(setup.photos, scratch / "in", count=setup.count)
    # every photo is to cost the whole way, also one without a face
    config = ProtectConfig(
        sources=(str(material.folder),),
        out=scratch / "out",
        no_face="whole",
        workers=setup.workers,
        again=True,
        device=device,
    )
    # beside the other stages the generator has some of the cores; alone it has all
    beside = parts.attack(threads=config.generator_threads)
    together, alone = (
        BenchSetup(config, detector, attack) for attack in (beside, GeneratorAttack(backends.chosen, beside.budget))
    )
    every = stages.specimens(material, alone)
    size = beside.crop_size
    cut = np.concatenate([crops(each.photo.pixels, each.where, size=size) for each in every])[: max(generator.BATCHES)]
    with ExitStack() as stack:
        stack.enter_context(_single_threaded_opencv())
        threads = stack.enter_context(
            pools(compute=config.threads, disk=DISK_THREADS, generator=config.generator_calls)
        )
        pillow = stack.enter_context(PillowPool(config.threads))
        timed = (
            *generator.cases(backends, cut),
            *end_to_end.cases(material, together, threads, pillow),
            *stages.cases(every, alone, threads),
            *decoders.cases(material, config, threads),
            *(worker_pools.cases(material, together, stack) if setup.engines else ()),
        )
        yield Throughput(timed, backends, cut)


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """As in a run of protect, where photos run side by side."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
