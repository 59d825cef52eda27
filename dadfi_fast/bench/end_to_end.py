"""Whole runs: memory to memory and disk to disk, and the control lines that they are compared with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.attacks.cmua import Watermark
from dadfi_fast.bench.photos import Photos
from dadfi_fast.bench.pillow import PillowPool
from dadfi_fast.bench.rows import package
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.bench.timing import Case
from dadfi_fast.errors import DadfiError
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.encode import encode
from dadfi_fast.protect.batching import perturb
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.job import PhotoJob
from dadfi_fast.protect.pipeline import PIXELS_A_THREAD, protect
from dadfi_fast.protect.prefetch import Pools, prefetch
from dadfi_fast.protect.results import Entry, Failed
from dadfi_fast.protect.stages import Stages, chain, stage
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.types import Float32, Protected


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

    see = chain(stage("decode", stages.decode), stage("detect", stages.detect), stage("crop", stages.crop))

    def load(file: tuple[Entry, bytes]) -> PhotoJob:
        decoder = open_picture(file[1], max_pixels=config.max_pixels, animated=config.animated)
        return see(PhotoJob(file[0], data=file[1], decoder=decoder))

    jobs = prefetch(files, load, pool=threads.compute, ahead=batch + 2 * workers)
    jobs = perturb(jobs, attack, batch=batch, heaviest=PIXELS_A_THREAD * workers, pool=threads.generator)
    return prefetch(jobs, stage("encode", stages.encode), pool=threads.compute, ahead=batch + workers)


def memory(photos: Photos, bench_setup: BenchSetup, threads: Pools) -> Callable[[], int]:
    """Encoded bytes in memory to encoded bytes in memory, through the stages of protect."""
    config, attack = bench_setup.config, bench_setup.attack
    files = [(Entry(path, path.name, path.name, path.stat().st_size, 0), path.read_bytes()) for path in photos.files]
    stages = Stages(replace(config, verify=0.0), bench_setup.detector, attack, OutFolder(config.folder))

    def work() -> int:
        done = in_memory(files, stages, attack, threads, workers=config.threads, batch=config.crops_a_batch)
        return sum(_counts(job) for job in done)

    return work


def copy(photos: Photos, config: ProtectConfig, threads: Pools) -> Callable[[], int]:
    """Decoded and encoded with our codecs, memory to memory; no face is looked for and no model runs."""
    files = [(path, path.read_bytes()) for path in photos.files]

    def through(file: tuple[Path, bytes]) -> bytes:
        photo = decode(open_picture(file[1], max_pixels=config.max_pixels), file[0])
        return encode(Protected(photo, photo.pixels, (), 0, photo.deep))

    def work() -> int:
        return sum(1 for _ in prefetch(files, through, pool=threads.compute, ahead=2 * config.threads))

    return work


def disk(bench_setup: BenchSetup, *, out: Path, attack: Attack) -> Callable[[], int]:
    """`protect` from folder to folder; ``out`` must be removed between the rounds."""
    config = replace(bench_setup.config, out=out)

    def work() -> int:
        summary = protect(config, detector=bench_setup.detector, attack=attack, facts=bench_setup.facts)
        if summary.interrupted:  # it finished what was under way; the benchmark is over
            raise KeyboardInterrupt
        if summary.failures:
            raise DadfiError(f"{summary.failures[0][0]} could not be protected: {summary.failures[0][1]}")
        return summary.written

    return work


def cases(photos: Photos, bench_setup: BenchSetup, threads: Pools, pillow: PillowPool) -> list[Case]:
    """Memory to memory, disk to disk, and the controls copy, pillow and cmua."""
    config, attack = bench_setup.config, bench_setup.attack
    facts = {
        **photos.facts(),
        "workers": config.threads,
        "generator_threads": config.generator_threads,
        "detector": bench_setup.detector.name,
        "batch": config.crops_a_batch,
    }
    ours, theirs, saved = (config.folder / name for name in ("disk", "cmua", "pillow"))
    saved.mkdir(parents=True)
    targets = [(path, saved / path.name) for path in photos.files]

    def on_disk(name: str, provider: str, driver: str, attack: Attack, out: Path) -> Case:
        more = {"verify": config.verify}
        work = disk(bench_setup, out=out, attack=attack)
        return Case(name, provider, driver, work, config={**facts, **more}, tidy=lambda: shutil.rmtree(out))

    watermark = Watermark(attack.budget, _pattern(attack))
    codec = package("simplejpeg")
    return [
        Case("memory", bench_setup.provider, bench_setup.driver, memory(photos, bench_setup, threads), config=facts),
        Case("copy", "simplejpeg", codec, copy(photos, config, threads), config=facts),
        on_disk("disk", bench_setup.provider, bench_setup.driver, attack, ours),
        on_disk("cmua", "watermark", package("opencv-python-headless"), watermark, theirs),
        Case("pillow", "pillow", package("pillow"), lambda: pillow.save_all(targets), config=facts),
    ]


def _pattern(attack: Attack) -> Float32:
    """Some watermark of the full strength: adding it takes the same time whatever it shows."""
    eps, size = attack.budget.eps, attack.crop_size
    return np.random.default_rng(0).uniform(-eps, eps, (3, size, size)).astype(np.float32)


def _counts(job: PhotoJob) -> bool:
    if isinstance(job.outcome, Failed):
        raise DadfiError(f"{job.entry.name} could not be protected: {job.outcome.error}") from job.outcome.error
    return job.encoded is not None
