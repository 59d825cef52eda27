"""The decoders side by side: JPEG files in memory to upright photos, through simplejpeg, Pillow and DALI."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from dadfi_fast.bench.photos import Photos
from dadfi_fast.bench.rows import Row, package, ratio
from dadfi_fast.bench.timing import Case, Key
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.decode.pillow import PillowDecoder
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.gpu import dali
from dadfi_fast.protect.job import PhotoJob, require
from dadfi_fast.protect.prefetch import Pools, prefetch
from dadfi_fast.protect.results import Entry
from dadfi_fast.types import Photo

#: What the rows are called. The stage ``decode`` is another case: it has pictures of every format.
NAME: Final = "feed"


def cases(photos: Photos, config: ProtectConfig, threads: Pools) -> list[Case]:
    """A case for each decoder that is there, with as many threads each; none where no photo is a JPEG that all take.

    Args:
        photos: the JPEG files among them are decoded, over and over.
        config: its ``workers`` are the threads, its ``device`` is DALI's.
        threads: where simplejpeg and Pillow run; DALI has threads of its own.
    """
    files = [(path, path.read_bytes()) for path in photos.files]
    chosen = [(path, data) for path, data in files if _for_all(data, config)]
    if not chosen:
        return []
    facts = {"photos": len(chosen), "megapixels": round(photos.megapixels, 3), "workers": config.threads}

    def in_threads(work: Callable[[tuple[Path, bytes]], Photo]) -> Callable[[], int]:
        return lambda: sum(1 for _ in prefetch(chosen, work, pool=threads.compute, ahead=2 * config.threads))

    compared = [
        Case(NAME, "simplejpeg", package("simplejpeg"), in_threads(lambda file: _by_simplejpeg(*file, config))),
        Case(NAME, "pillow", package("pillow"), in_threads(lambda file: _by_pillow(*file))),
    ]
    if dali.missing(config.device) is None:
        driver = package("nvidia-dali-cuda130")
        compared.append(Case(NAME, f"dali-{config.device}", driver, _by_dali(chosen, config)))
    return [Case(each.name, each.provider, each.driver, each.work, config=facts) for each in compared]


def ratios(rates: dict[Key, list[float]], timed: Sequence[Case]) -> Iterator[Row]:
    """Each decoder against every slower one, round by round; the fastest first."""
    mine = sorted((case for case in timed if case.name == NAME), key=lambda case: median(rates[case.key]), reverse=True)
    for index, above in enumerate(mine):
        for below in mine[index + 1 :]:
            provider = f"{above.provider} / {below.provider}"
            yield ratio(f"{NAME} / {NAME}", rates[above.key], rates[below.key], provider=provider, config=above.config)


def _for_all(data: bytes, config: ProtectConfig) -> bool:
    return dali.takes(open_picture(data, max_pixels=config.max_pixels, animated="first"), data)


def _by_simplejpeg(path: Path, data: bytes, config: ProtectConfig) -> Photo:
    return decode(open_picture(data, max_pixels=config.max_pixels), path)


def _by_pillow(path: Path, data: bytes) -> Photo:
    return decode(PillowDecoder(data, "JPEG"), path)


def _by_dali(files: Sequence[tuple[Path, bytes]], config: ProtectConfig) -> Callable[[], int]:
    """On a CPU up to photos that may be written to; on a GPU up to pixels on the card, where they stay."""
    from dadfi_fast.protect.gpu.dali_stage import PIXELS, decoded

    decoder = dali.Dali(device=config.device, threads=config.threads)
    entries = [Entry(path, path.name, path.name, len(data), 0) for path, data in files]

    def read() -> Iterator[PhotoJob]:
        for entry, (_, data) in zip(entries, files, strict=True):
            yield PhotoJob(entry, data=data, decoder=open_picture(data, max_pixels=config.max_pixels))

    def work() -> int:
        count = 0
        for group, pictures, _ in decoded(read(), decoder, pixels=PIXELS):
            for index, picture in pictures.items():
                job = group.jobs[index]
                if isinstance(picture, np.ndarray):  # not on a GPU
                    decode(dali.Decoded(require(job.decoder), picture), Path(job.entry.name))
                count += 1
        return count

    return work
