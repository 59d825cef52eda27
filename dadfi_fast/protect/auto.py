"""``--batch auto --workers auto``: the usual numbers, or, in a long run, what a short trial finds to be faster.

The written files are the same whatever is chosen: only the time that they take, and the memory, is at stake.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.faces.detector import Detector
from dadfi_fast.images.decode import open_picture
from dadfi_fast.protect.batching import perturb
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.job import PhotoJob, require
from dadfi_fast.protect.manifest import NAME
from dadfi_fast.protect.pipeline import PIXELS_A_THREAD, quiet_codecs
from dadfi_fast.protect.prefetch import Pools, pools, prefetch
from dadfi_fast.protect.results import Entry, Failed
from dadfi_fast.protect.stages import Stage, Stages, chain, stage
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.types import Float32

#: Inputs that must be left for a trial: with fewer a run takes seconds, and there is less to gain than the trial takes.
FEWEST: Final = 1000
#: Nothing new is tried after so many seconds.
SECONDS: Final = 1.0
#: Photos that are read for it.
PHOTOS: Final = 8
#: Seconds of one round with one number of workers, about.
ROUND: Final = 0.12
#: The usual numbers stay unless others are so many times as fast, at their worst against the usual ones at their best:
#: all else is the noise of so short a trial.
GAIN: Final = 1.05
#: Crops a call, tried in this order after the usual number, for as long as more is faster.
LARGER: Final[Mapping[str, Sequence[int]]] = {"cpu": (8, 16), "cuda": (8, 16, 32, 64, 128)}


@dataclass(frozen=True)
class Settings:
    """What a run goes on with."""

    batch: int  # face crops a call of the generator
    workers: int  # threads that decode and encode
    why: str

    @property
    def numbers(self) -> str:
        """They alone."""
        faces, workers = (f"{n} {word}{'s' * (n != 1)}" for n, word in ((self.batch, "face"), (self.workers, "worker")))
        return f"{faces} a call, {workers}"

    def __str__(self) -> str:
        return f"{self.numbers} ({self.why})"


def settle(
    config: ProtectConfig,
    *,
    left: int,
    first: Callable[[], Iterable[Entry | Failed]],
    detector: Detector,
    attack: Attack,
) -> Settings:
    """The settings for a run.

    Args:
        config: what is asked for; numbers that it names stay.
        left: inputs that are left to be worked on.
        first: gives the inputs, of which the first few are tried in memory; nothing is written.
        detector: the one of the run.
        attack: the one of the run.
    """
    batch, workers = config.crops_a_batch, config.threads
    if config.batch and config.workers:
        return Settings(batch, workers, "named by the user")
    if left < FEWEST:
        return Settings(batch, workers, f"defaults: benchmarked only for {FEWEST} files or more")
    start = time.perf_counter()
    with TemporaryDirectory(prefix="dadfi-trial-") as folder, quiet_codecs():
        trial = Trial(Stages(config, detector, attack, OutFolder(Path(folder))), attack, start + SECONDS)
        if not trial.read(first()):
            return Settings(batch, workers, "defaults: no face in the first files to benchmark with")
        batch = config.batch or trial.batch(batch)
        workers = config.workers or trial.workers(workers, batch)
    usual = (batch, workers) == (config.crops_a_batch, config.threads)
    found = "nothing was faster" if usual else "faster than the usual ones"
    return Settings(batch, workers, f"{found} in a benchmark of {time.perf_counter() - start:.1f} s")


class Trial:
    """The first photos of a run, held in memory, and what was found out on them.

    Args:
        stages: of the run; nothing is staged.
        attack: of the run.
        until: nothing new is begun after this time, on the clock of `time.perf_counter`.
    """

    def __init__(self, stages: Stages, attack: Attack, until: float) -> None:
        self._stages, self._attack, self._until = stages, attack, until
        self._files: list[tuple[Entry, bytes]] = []
        self._crops: Float32 = np.empty((0, 3, attack.crop_size, attack.crop_size), np.float32)
        self._seconds = 0.0  # of one thread for one photo, but for the generator

    def read(self, entries: Iterable[Entry | Failed]) -> bool:
        """Take the first photos with faces; whether there are any."""
        for entry in islice(entries, 4 * PHOTOS):
            if self._files and (len(self._files) == PHOTOS or self._late(share=0.25)):
                break
            start = time.perf_counter()
            job = chain(stage("read", self._stages.read), _see(self._stages))(PhotoJob.of(entry))
            if job.next == "perturb":
                self._files.append((job.entry, job.data))
                self._crops = np.concatenate([self._crops, require(job.crops)])
                self._seconds = 2 * (time.perf_counter() - start)  # encoding takes about as long again
        return bool(self._files)

    def batch(self, usual: int) -> int:
        """Crops a call."""
        best, rates = usual, self._crops_a_second(usual)
        for size in LARGER[self._stages.config.device.partition(":")[0]]:
            if self._late(share=0.5) or not faster(found := self._crops_a_second(size), rates):
                break
            best, rates = size, found
        return best

    def workers(self, usual: int, batch: int) -> int:
        """Threads, at this many crops a call."""
        rates: dict[int, list[float]] = {n: [] for n in (usual, usual + usual // 2, max(1, usual // 2))}
        photos = max(usual + 1, round(ROUND * usual / self._seconds))
        for workers in (*rates, *rates):
            if not self._late():
                rates[workers].append(self._photos_a_second(photos, workers, batch))
        best = max(rates, key=lambda workers: min(rates[workers], default=0.0))
        return best if len(rates[best]) == 2 and faster(rates[best], rates[usual]) else usual

    def _crops_a_second(self, size: int) -> list[float]:
        crops = np.ascontiguousarray(self._crops[[n % len(self._crops) for n in range(size)]])
        try:
            self._attack(crops)  # a backend compiles its network for a size that it has not met
            return [size / _timed(lambda: self._attack(crops)) for _ in range(3)]
        except Exception:  # the memory of a GPU is full, for one; what is wrong with a photo its row will say
            return [0.0]

    def _photos_a_second(self, photos: int, workers: int, batch: int) -> float:
        files = list(islice(cycle(self._files), photos))
        with pools(compute=workers, disk=1, generator=self._stages.config.generator_calls) as threads:
            work = in_memory(files, self._stages, self._attack, threads, workers=workers, batch=batch)
            return photos / _timed(lambda: sum(1 for _ in work))

    def _late(self, *, share: float = 1.0) -> bool:
        """Whether ``share`` of the time for the trial is over."""
        return time.perf_counter() > self._until - SECONDS * (1 - share)


def in_memory(
    files: Iterable[tuple[Entry, bytes]], stages: Stages, attack: Attack, threads: Pools, *, workers: int, batch: int
) -> Iterator[PhotoJob]:
    """Encoded bytes to encoded bytes, through the stages of a run, with as much of it side by side; nothing is written.

    Args:
        files: inputs with what is in them.
        stages: of the run.
        attack: perturbs crops; called from this thread, or where ``threads`` say.
        threads: where the rest runs.
        workers: how many of them compute.
        batch: crops a call.
    """
    config = stages.config

    see = _see(stages)

    def load(file: tuple[Entry, bytes]) -> PhotoJob:
        decoder = open_picture(file[1], max_pixels=config.max_pixels, animated=config.animated)
        return see(PhotoJob(file[0], data=file[1], decoder=decoder))

    jobs = prefetch(files, load, pool=threads.compute, ahead=batch + 2 * workers)
    jobs = perturb(jobs, attack, batch=batch, heaviest=PIXELS_A_THREAD * workers, pool=threads.generator)
    return prefetch(jobs, stage("encode", stages.encode), pool=threads.compute, ahead=batch + workers)


def faster(ones: Sequence[float], others: Sequence[float]) -> bool:
    """Whether the worst of these rates is `GAIN` times the best of those."""
    return min(ones) >= GAIN * max(others)


def left(config: ProtectConfig, total: int) -> int:
    """Of ``total`` inputs, about as many as an earlier run has left: its manifest has a line for each of the others."""
    path = config.out / NAME if isinstance(config.out, Path) else None
    if path is None or not path.is_file():
        return total
    with path.open("rb") as file:
        return max(0, total - sum(1 for _ in file))


def _see(stages: Stages) -> Stage:
    return chain(stage("decode", stages.decode), stage("detect", stages.detect), stage("crop", stages.crop))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
