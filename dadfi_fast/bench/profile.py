"""Where the time of one photo goes, function by function, beside that of whole runs.

What counts is the time of CPU cores, all threads together, which other work on the machine changes less than the time
on the clock. A photo goes through the functions in the order in which `protect` calls them, on one thread.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

import cv2
import numpy as np

from dadfi_fast.bench import end_to_end
from dadfi_fast.bench.growth import encoded
from dadfi_fast.bench.photos import Photos, pictures
from dadfi_fast.bench.pillow import save
from dadfi_fast.bench.rows import Row, summarise
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.faces.detector import Detector
from dadfi_fast.images.decode import open_picture
from dadfi_fast.images.encode import encode
from dadfi_fast.images.guard import check_lengths
from dadfi_fast.images.jpeg import with_metadata
from dadfi_fast.protect.blend import blend
from dadfi_fast.protect.blocks import add
from dadfi_fast.protect.job import PhotoJob, require
from dadfi_fast.protect.output_metadata import output_metadata
from dadfi_fast.protect.pipeline import DISK_THREADS, quiet_codecs
from dadfi_fast.protect.prefetch import pools
from dadfi_fast.protect.results import Entry
from dadfi_fast.protect.stages import Stages
from dadfi_fast.protect.verify import measure
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.types import Face, Metadata, UInt8

T = TypeVar("T")

#: How the rows of functions begin: the stage and the function follow.
PREFIX: Final = "profile "
#: Whole runs: `protect` from disk to disk without and with verification, and what it is compared with.
RUNS: Final = ("protect", "protect without verification", "copy", "pillow")


@dataclass
class Stopwatch:
    """Core-ms of each function, without those of the functions that it calls in its turn."""

    spent: dict[str, float] = field(default_factory=dict)
    _within: list[float] = field(default_factory=list)

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        """What ``work`` gives; the time it takes is added under ``name``."""
        self._within.append(0.0)
        start = time.process_time()
        result = work()
        took = 1000 * (time.process_time() - start)
        self.spent[name] = self.spent.get(name, 0.0) + took - self._within.pop()
        if self._within:
            self._within[-1] += took
        return result


def enlarged(source: Path, folder: Path, *, megapixels: float, count: int) -> None:
    """Write the first ``count`` pictures of ``source`` to the new ``folder``, as JPEGs of another size, with grain.

    Raises:
        NothingToDo: there is none.
    """
    folder.mkdir(parents=True)
    for index, pixels in enumerate(pictures(source)[:count]):
        factor = (megapixels * 1e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        resized: UInt8 = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=how)  # type: ignore[assignment]
        (folder / f"{index:05}.jpg").write_bytes(encoded(resized))


def profile(
    photos: Photos, bench_setup: BenchSetup, *, repeats: int, tick: Callable[[], object] = lambda: None
) -> list[Row]:
    """The rows of all functions, in the order of the calls, then of `RUNS`, in core-ms a photo.

    Args:
        photos: what to protect.
        bench_setup: what protects; its output folder is the benchmark's own.
        repeats: rounds that count; a first one is thrown away. In each, every photo goes through the functions once,
            and every run protects all of them once.
        tick: called after each of the ``repeats + 1`` rounds.
    """
    out = OutFolder(bench_setup.config.folder / "functions")
    functions: dict[str, list[float]] = {}
    runs: dict[str, list[float]] = {}
    faces: list[int] = []
    with quiet_codecs():
        for number in range(repeats + 1):
            walks = [_walk(path, bench_setup, out) for path in photos.files]
            whole_runs = dict(_runs(photos, bench_setup, backwards=number % 2 == 1))
            tick()
            if number == 0:
                faces = [count for _, count in walks]
                continue
            for watch, _ in walks:
                for name, spent in watch.spent.items():
                    functions.setdefault(name, []).append(spent)
            for name, spent in whole_runs.items():
                runs.setdefault(name, []).append(spent)
    facts = {**photos.facts(), "faces": float(np.mean(faces)), "verify": bench_setup.config.verify, "rounds": repeats}

    def row(name: str, values: Sequence[float]) -> Row:
        return summarise(
            name, bench_setup.provider, values, unit="core-ms/photo", driver=bench_setup.driver, config=facts
        )

    return [
        *(row(f"{PREFIX}{name}", values) for name, values in functions.items()),
        *(row(name, runs[name]) for name in RUNS),
    ]


def rest(rows: Sequence[Row]) -> float:
    """What a run without verification takes beside its functions, by the medians: threads, queues, the manifest."""
    alone = next(row.p50 for row in rows if row.case == RUNS[1])
    inside = (row.p50 for row in rows if row.case.startswith(PREFIX) and not row.case.startswith(f"{PREFIX}verify"))
    return alone - sum(inside)


def _walk(path: Path, bench_setup: BenchSetup, out: OutFolder) -> tuple[Stopwatch, int]:
    """One photo from its file to its result; what each function took, and how many faces there were."""
    watch, config, attack = Stopwatch(), replace(bench_setup.config, no_face="whole"), bench_setup.attack
    stages = Stages(config, _Watched(bench_setup.detector, watch), attack, out)
    data = watch("read: file", path.read_bytes)
    watch("read: sha256", lambda: hashlib.sha256(data).hexdigest())
    decoder = watch("read: header", lambda: _opened(data, config.max_pixels))
    entry = Entry(path, path.name, path.name, len(data), 0)
    job = PhotoJob(entry, data, decoder=decoder)
    watch("decode: pixels or blocks", lambda: stages.decode(job))
    watch("detect: network", lambda: stages.detect(job))
    watch("crop: crops", lambda: stages.crop(job))
    cut, batch = require(job.crops), config.crops_a_batch
    deltas = watch(
        "perturb: generator",
        lambda: np.concatenate([attack(cut[at : at + batch]) for at in range(0, len(cut), batch)]),
    )
    photo, blocks, count = require(job.photo), job.blocks, len(job.faces)
    output = watch("encode: metadata", lambda: output_metadata(data, photo, config, strength=attack.budget.eps))
    if blocks is not None:
        watch("blend: blend", lambda: add(blocks, job.squares, deltas, attack.budget))
        stream = watch("encode: pixels or blocks", blocks.write)
    else:
        protected = watch("blend: blend", lambda: blend(photo, job.faces, job.squares, deltas, attack.budget))
        bare = replace(protected, photo=replace(protected.photo, metadata=Metadata()))
        stream = watch("encode: pixels or blocks", lambda: encode(bare))
    if decoder.encoding.format == "JPEG":
        stream = watch("encode: metadata", lambda: with_metadata(stream, output.metadata))
    watch("encode: sha256", lambda: hashlib.sha256(stream).hexdigest())
    watch("verify: measure", lambda: measure(entry, data, stream, max_pixels=config.max_pixels))
    staged = watch("write: write and flush", lambda: out.stage(path.name, stream, like=path))
    watch("write: rename", lambda: out.commit(staged, path.name))
    return watch, count


class _Watched(Detector):
    """A detector of which is measured how long it waits for small copies."""

    def __init__(self, detector: Detector, watch: Stopwatch) -> None:
        self._detector, self._watch = detector, watch

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        return None

    def find(self, pixels: UInt8) -> list[Face]:
        return self._detector.find(pixels)

    def search(self, height: int, width: int, small: Callable[[int, int], UInt8]) -> list[Face]:
        def watched(width: int, height: int) -> UInt8:
            return self._watch("detect: small copies", lambda: small(width, height))

        return self._detector.search(height, width, watched)


def _opened(data: bytes, max_pixels: int):  # type: ignore[no-untyped-def]
    check_lengths(data)
    return open_picture(data, max_pixels=max_pixels)


def _runs(photos: Photos, bench_setup: BenchSetup, *, backwards: bool) -> Iterator[tuple[str, float]]:
    """Core-ms a photo of each of `RUNS`."""
    config, attack = bench_setup.config, bench_setup.attack
    out, saved = config.folder / "run", config.folder / "pillow"
    saved.mkdir(exist_ok=True)
    without = replace(bench_setup, config=replace(config, verify=0.0))

    def by_pillow() -> int:
        return sum(save(path, saved / path.name) for path in photos.files)

    with pools(compute=config.threads, disk=DISK_THREADS) as threads:
        work = (
            end_to_end.disk(bench_setup, out=out, attack=attack),
            end_to_end.disk(without, out=out, attack=attack),
            end_to_end.copy(photos, config, threads),
            by_pillow,
        )
        runs = list(zip(RUNS, work, strict=True))
        for name, run in reversed(runs) if backwards else runs:
            start = time.process_time()
            run()
            yield name, 1000 * (time.process_time() - start) / len(photos.files)
            if out.exists():
                shutil.rmtree(out)
