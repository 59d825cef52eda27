"""A folder of very many small photos, some of them damaged, made from a few real ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import simplejpeg

from dadfi_fast.bench.photos import pictures
from dadfi_fast.errors import UsageError
from dadfi_fast.types import UInt8

#: Files to a folder; they lie two deep, as collections of photos do.
A_FOLDER: Final = 500
#: What is done to a JPEG so that it cannot be protected. Every kind comes up as often.
DAMAGES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "no picture": lambda _: b"this is a text that is called .jpg\n",
    "header lost": lambda data: data[:2] + b"\xff\xc0\x00\x03\x08" + data[40:],
    "zeros": lambda data: data[: len(data) // 3] + bytes(len(data) - len(data) // 3),
}


@dataclass(frozen=True)
class SyntheticPhotos:
    """What was made."""

    folder: Path
    count: int
    damaged: int
    size: int  # pixels of the shorter side
    seed: int

    def names(self) -> Iterator[tuple[str, str | None]]:
        """Name below the folder, and what is wrong with the file: None for a photo."""
        kinds = tuple(DAMAGES)
        seen = 0
        for number in range(self.count):
            # Spread evenly: the n-th damaged one where n / damaged of the folder is behind it.
            bad = (number + 1) * self.damaged // self.count > seen
            yield f"{number // A_FOLDER:04}/{number:07}.jpg", kinds[seen % len(kinds)] if bad else None
            seen += bad


def make(
    source: Path, folder: Path, *, count: int, size: int, damaged: float, seed: int = 0, threads: int = 2
) -> SyntheticPhotos:
    """Write ``count`` different JPEGs into ``folder``, cuts of the pictures in ``source``.

    Args:
        source: a folder of pictures.
        folder: it is made.
        count: files.
        size: pixels of the shorter side; the longer is up to a third more.
        damaged: share of the files, 0 to 1, that are damaged, in one of the ways of `DAMAGES`.
        seed: of the cuts.
        threads: that make them.

    Raises:
        NothingToDo: there is no picture in ``source``.
        UsageError: ``folder`` is there already.
    """
    photos = SyntheticPhotos(folder, count, round(count * damaged), size, seed)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(f"{folder} already exists. Remove it, or pass another --scratch.") from error
    for number in range(0, count, A_FOLDER):
        (folder / f"{number // A_FOLDER:04}").mkdir()
    originals = tuple(_reduced(each, 4 * size) for each in pictures(source))

    def write(item: tuple[str, str | None]) -> None:
        name, damage = item
        data = _photo(originals, size, seed=zlib.crc32(f"{seed} {name}".encode()))
        (folder / name).write_bytes(data if damage is None else DAMAGES[damage](data))

    with ThreadPoolExecutor(threads, "dadfi-make") as pool:
        for _ in pool.map(write, photos.names()):
            pass
    return photos


def _reduced(pixels: UInt8, most: int) -> UInt8:
    """At most ``most`` pixels on the shorter side, so that the cuts show more than a few pores."""
    scale = most / min(pixels.shape[:2])
    if scale >= 1:
        return pixels
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _photo(originals: Sequence[UInt8], size: int, *, seed: int) -> bytes:
    """One JPEG: a cut of one of the pictures, mirrored or not, at a quality between 75 and 95."""
    rng = np.random.default_rng(seed)
    pixels = originals[int(rng.integers(len(originals)))]
    width, height = size + int(rng.integers(size // 3 + 1)), size
    if rng.integers(2):
        width, height = height, width
    # The cut is as large as it can be, or down to half of that.
    most = min(pixels.shape[1] / width, pixels.shape[0] / height)
    factor = most * rng.uniform(0.5, 1)
    w, h = max(1, int(width * factor)), max(1, int(height * factor))
    x, y = int(rng.integers(pixels.shape[1] - w + 1)), int(rng.integers(pixels.shape[0] - h + 1))
    small = cv2.resize(pixels[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_AREA)
    small = np.ascontiguousarray(small[:, ::-1] if rng.integers(2) else small)
    return bytes(simplejpeg.encode_jpeg(small, quality=int(rng.integers(75, 96)), colorsubsampling="420"))
