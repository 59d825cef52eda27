"""How the cost of a photo grows: with its megapixels, with its faces, and that of a run with its photos.

What counts is the time of CPU cores, which other work on the machine changes less than the time on the clock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import simplejpeg

from dadfi_fast.bench.end_to_end import in_memory
from dadfi_fast.bench.rows import Row, summarise
from dadfi_fast.bench.scale import protect_command
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.bench.synthetic import make
from dadfi_fast.errors import DadfiError, NothingToDo
from dadfi_fast.faces.align import cut, square
from dadfi_fast.faces.detector import Detector
from dadfi_fast.palette import COLOURS
from dadfi_fast.protect.pipeline import quiet_codecs
from dadfi_fast.protect.prefetch import pools
from dadfi_fast.protect.results import Entry, Written
from dadfi_fast.protect.stages import Stages
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.types import UInt8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is varied, over which values.
OVER: Final[Mapping[str, Sequence[float]]] = {
    "megapixels": (0.25, 0.5, 1, 2, 4, 8, 12, 24),
    "faces": (1, 2, 4, 8, 12, 16),
    "photos": (20, 200, 400, 800, 1600),
}
#: How the rows call it.
PREFIX: Final = "cost by "
#: JPEG quality of the pictures, and the grain that is put on them, in levels (standard deviation): an enlarged picture
#: is smooth, and its file far smaller than that of a photo.
QUALITY, GRAIN = 90, 3.0
#: Side of the portrait that is cut out, in lengths of the face box.
MARGIN: Final = 2.2
#: The picture that faces are put into: width, height, cells in a row, pixels of a cell.
WIDTH, HEIGHT, ACROSS, CELL = 4000, 3000, 4, 700


@dataclass(frozen=True)
class Line:
    """``cost = base + slope * x``."""

    base: float
    slope: float


def portrait(pictures: Sequence[UInt8], detector: Detector) -> UInt8:
    """The largest face in ``pictures``, with what is around it.

    Raises:
        NothingToDo: there is no face.
    """
    candidates = [(max(face.width, face.height), pixels, face) for pixels in pictures for face in detector(pixels)]
    if not candidates:
        raise NothingToDo("no face found in these photos. Pass a folder of portraits with --photos.")
    _, pixels, face = max(candidates, key=lambda each: each[0])
    return np.ascontiguousarray(cut(pixels, square(face, margin=MARGIN)))


def by_megapixels(picture: UInt8, bench_setup: BenchSetup, scratch: Path, *, repeats: int) -> Iterator[Row]:
    """One photo enlarged or reduced; its face grows along.

    Args:
        picture: [H, W, 3], a portrait.
        bench_setup: what protects.
        scratch: a folder that is not there yet.
        repeats: photos of each size; a first one is thrown away.
    """
    for megapixels in OVER["megapixels"]:
        factor = (megapixels * 1e6 / (picture.shape[0] * picture.shape[1])) ** 0.5
        size = round(picture.shape[1] * factor), round(picture.shape[0] * factor)
        pixels = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
        data = encoded(pixels)  # type: ignore[arg-type]
        yield _row("megapixels", megapixels, data, bench_setup, scratch, repeats)


def by_faces(picture: UInt8, bench_setup: BenchSetup, scratch: Path, *, repeats: int) -> Iterator[Row]:
    """Photos of 12 megapixels with so many portraits side by side, each as large as the others; else as above."""
    cell = cv2.resize(picture, (CELL, CELL), interpolation=cv2.INTER_CUBIC)
    for faces in OVER["faces"]:
        data = encoded(_wall(cell, int(faces)))  # type: ignore[arg-type]
        yield _row("faces", faces, data, bench_setup, scratch, repeats)


def by_photos(source: Path, scratch: Path, *, repeats: int, tick: Callable[[], object] = lambda: None) -> Iterator[Row]:
    """Whole runs, each in a process of its own, on so many small photos: what it costs to start, and to go on.

    Args:
        source: a folder of pictures that the photos are cut from.
        scratch: a folder that is not there yet.
        repeats: runs.
        tick: called after every run.
    """
    for photos in OVER["photos"]:
        inputs = make(source, scratch / "in", count=int(photos), size=112, damaged=0)
        spent, clock = [], []
        for _ in range(repeats):
            before, start = os.times(), time.perf_counter()
            done = subprocess.run(
                protect_command(inputs, scratch / "out", "--device", "cpu"),
                capture_output=True,
                text=True,
                check=False,
            )
            after = os.times()
            clock.append(time.perf_counter() - start)
            if done.returncode:
                raise DadfiError(f"protect ended with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
            used = after.children_user + after.children_system - before.children_user - before.children_system
            spent.append(1000 * used)
            shutil.rmtree(scratch / "out")
            tick()
        shutil.rmtree(scratch / "in")
        facts = {"photos": int(photos), "side": 112, "clock_seconds": round(float(np.median(clock)), 3)}
        yield summarise(f"{PREFIX}photos", "protect", spent, unit="core-ms", driver="", config=facts)


def fit(rows: Sequence[Mapping[str, Any]], name: str) -> Line:
    """The straight line through the medians of the rows (as JSON has them) by ``name``, every point weighing alike.

    Errors count relative to the cost: else the largest photo alone would say where the line goes.
    """
    x, y = points(rows, name)
    weights = 1 / y
    design = np.stack([weights, x * weights], axis=1)
    base, slope = np.linalg.lstsq(design, y * weights, rcond=None)[0]
    return Line(float(base), float(slope))


def points(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """What was varied, and the medians."""
    measured = sorted((row["config"][name], row["p50"]) for row in rows if row["case"] == f"{PREFIX}{name}")
    x, y = (np.array(each, float) for each in zip(*measured, strict=True))
    return x, y


def draw(rows: Sequence[Mapping[str, Any]], figure: Figure) -> None:
    """Points and lines for what the rows have, side by side."""
    names = [name for name in OVER if any(row["case"] == f"{PREFIX}{name}" for row in rows)]
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        (x, y), line = points(rows, name), fit(rows, name)
        seconds = 1000 if name == "photos" else 1
        axes.plot(x, (line.base + line.slope * x) / seconds, color=COLOURS[0])
        axes.plot(x, y / seconds, "o", color=COLOURS[1])
        unit = "core-seconds per run" if name == "photos" else "core-ms per photo"
        axes.set(xlabel=name, ylabel=unit, xlim=(0, None), ylim=(0, None))
        axes.set_title(f"{line.base / seconds:.3g} + {line.slope / seconds:.3g} x {name}", fontsize=10)


def _row(name: str, value: float, data: bytes, bench_setup: BenchSetup, scratch: Path, repeats: int) -> Row:
    spent, faces = _core_ms(data, bench_setup, scratch, repeats)
    facts = {name: value, "faces_found": faces, "kilobytes": len(data) // 1000, "quality": QUALITY}
    provider, driver = bench_setup.provider, bench_setup.driver
    return summarise(f"{PREFIX}{name}", provider, spent, unit="core-ms/photo", driver=driver, config=facts)


def _core_ms(data: bytes, bench_setup: BenchSetup, scratch: Path, repeats: int) -> tuple[list[float], int]:
    """Milliseconds of all cores together for one photo, memory to memory, in each repeat; and its faces."""
    stages = Stages(bench_setup.config, bench_setup.detector, bench_setup.attack, OutFolder(scratch))
    files = [(Entry(scratch, "photo", "photo", len(data), 0), data)]
    spent, faces = [], 0
    with quiet_codecs(), pools(compute=1, disk=1) as threads:
        for _ in range(repeats + 1):
            start = time.process_time()
            (done,) = in_memory(
                files, stages, bench_setup.attack, threads, workers=1, batch=bench_setup.config.crops_a_batch
            )
            spent.append(1000 * (time.process_time() - start))
            assert done.encoded is not None, f"the photo became {done.outcome}"
            faces = len(done.outcome.faces) if isinstance(done.outcome, Written) else 0
    return spent[1:], faces


def encoded(pixels: UInt8) -> bytes:
    """A JPEG of a picture [H, W, 3] that was enlarged or reduced, with grain."""
    grain = np.random.default_rng(0).normal(0, GRAIN, pixels.shape[:2]).astype(np.float32)
    grainy = np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8)
    return bytes(simplejpeg.encode_jpeg(grainy, quality=QUALITY, colorsubsampling="420"))


def _wall(cell: UInt8, faces: int) -> UInt8:
    """A grey picture with ``faces`` portraits."""
    wall = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for number in range(faces):
        y, x = 20 + (number // ACROSS) * (HEIGHT // 4), 20 + (number % ACROSS) * (WIDTH // ACROSS)
        wall[y : y + CELL, x : x + CELL] = cell
    return wall
