"""Each stage of protect on its own, fed from memory: how fast it would be if it were all there is to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from dadfi_fast.bench.photos import Photos
from dadfi_fast.bench.rows import package
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.bench.timing import Case, Key
from dadfi_fast.faces.align import Square, whole
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.encode import encode
from dadfi_fast.protect.blend import blend
from dadfi_fast.protect.crop import crops, squares
from dadfi_fast.protect.pipeline import DISK_THREADS
from dadfi_fast.protect.prefetch import Pools, prefetch
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.types import Face, Float32, Photo, Protected

T = TypeVar("T")

#: The stages, in the order in which a photo goes through them.
STAGES: Final = ("decode", "detect", "perturb", "blend", "encode", "write")
#: How the rows call them.
PREFIX: Final = "stage "
#: Pixels of decoded photos that are held; fewer photos are taken where these are large.
HELD: Final = 64_000_000


@dataclass(frozen=True, eq=False)
class Specimen:
    """One photo as every stage finds it."""

    path: Path
    data: bytes
    photo: Photo
    faces: tuple[Face, ...]
    where: tuple[Square, ...]
    deltas: Float32  # [B, 3, S, S]
    protected: Protected
    encoded: bytes


def specimens(photos: Photos, bench_setup: BenchSetup) -> list[Specimen]:
    """As many of the photos as `HELD` allows, at least one."""
    chosen: list[Specimen] = []
    pixels = 0
    for path in photos.files:
        chosen.append(_specimen(path, bench_setup))
        pixels += chosen[-1].photo.pixels.size // 3
        if pixels > HELD:
            break
    return chosen


def cases(every: Sequence[Specimen], bench_setup: BenchSetup, threads: Pools) -> list[Case]:
    """A case for each of `STAGES`, with as many threads as a run has."""
    config = bench_setup.config
    facts = {"photos": len(every), "workers": config.threads, "batch": config.crops_a_batch}
    codec, detector = package("simplejpeg"), bench_setup.detector
    blended = [replace(each.photo, pixels=each.photo.pixels.copy()) for each in every]  # blending is in place
    out = _Out(config.folder / "stage-write")

    def in_threads(work: Callable[[T], object], items: Iterable[T] = every) -> Callable[[], int]:  # type: ignore[assignment]
        return lambda: sum(1 for _ in prefetch(items, work, pool=threads.compute, ahead=2 * config.threads))

    def decoded(each: Specimen) -> Photo:
        return decode(open_picture(each.data, max_pixels=config.max_pixels), each.path)

    def mixed(pair: tuple[Specimen, Photo]) -> Protected:
        return blend(pair[1], pair[0].faces, pair[0].where, pair[0].deltas, bench_setup.attack.budget)

    def write() -> int:
        written = prefetch(enumerate(every), out.write, pool=threads.disk, ahead=2 * DISK_THREADS)
        return sum(1 for _ in written)

    pairs = list(zip(every, blended, strict=True))
    work: dict[str, tuple[str, str, Callable[[], int]]] = {
        "decode": ("simplejpeg", codec, in_threads(decoded)),
        "detect": (detector.name, "", in_threads(lambda each: detector(each.photo.pixels))),
        "perturb": (bench_setup.provider, bench_setup.driver, _perturb(every, bench_setup, threads)),
        "blend": ("opencv", package("opencv-python-headless"), in_threads(mixed, pairs)),
        "encode": ("simplejpeg", codec, in_threads(lambda each: encode(each.protected))),
        "write": ("fsync and rename", "", write),
    }
    tidy = {"write": out.clear}
    return [Case(f"{PREFIX}{name}", *work[name], config=facts, tidy=tidy.get(name, _nothing)) for name in STAGES]


def _perturb(every: Sequence[Specimen], bench_setup: BenchSetup, threads: Pools) -> Callable[[], int]:
    """Crops cut out, and run through the generator a batch at a time."""
    batch, ahead = bench_setup.config.crops_a_batch, 2 * bench_setup.config.threads
    size = bench_setup.attack.crop_size

    def work() -> int:
        cut = prefetch(
            every, lambda each: crops(each.photo.pixels, each.where, size=size), pool=threads.compute, ahead=ahead
        )
        stacked = np.concatenate(list(cut))
        for at in range(0, len(stacked), batch):
            bench_setup.attack(stacked[at : at + batch])
        return len(every)

    return work


def shares(medians: dict[Key, float]) -> dict[Key, float]:
    """The share of a photo's time that each stage takes, from its median rate."""
    total = sum(1 / rate for rate in medians.values())
    return {key: 1 / rate / total for key, rate in medians.items()}


def seconds(rates: Mapping[Key, Sequence[float]]) -> list[tuple[float, ...]]:
    """What each stage takes of one photo, in seconds; a tuple for every round, from the rates of the rounds."""
    return [tuple(1 / rate for rate in each) for each in zip(*rates.values(), strict=True)]


class _Out:
    """A folder that is emptied after each round."""

    def __init__(self, path: Path) -> None:
        self._path, self._folder = path, OutFolder(path)

    def write(self, numbered: tuple[int, Specimen]) -> None:
        name = f"{numbered[0]:05}"
        self._folder.commit(self._folder.stage(name, numbered[1].encoded), name)

    def clear(self) -> None:
        shutil.rmtree(self._path)
        self._folder = OutFolder(self._path)


def _specimen(path: Path, bench_setup: BenchSetup) -> Specimen:
    data = path.read_bytes()
    photo = decode(open_picture(data, max_pixels=bench_setup.config.max_pixels), path)
    faces = tuple(bench_setup.detector(photo.pixels)) or (whole(*photo.pixels.shape[:2]),)
    where = squares(faces)
    attack = bench_setup.attack
    deltas = attack(crops(photo.pixels, where, size=attack.crop_size))
    copy = replace(photo, pixels=photo.pixels.copy())
    protected = blend(copy, faces, where, deltas, bench_setup.attack.budget)
    return Specimen(path, data, photo, faces, where, deltas, protected, encode(protected))


def _nothing() -> None:
    """Most stages leave nothing behind."""
