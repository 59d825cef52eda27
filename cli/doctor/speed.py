"""What ``doctor`` measures: photos a second from disk to disk, with the settings that `auto` chooses."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from dadfi_fast.cli.doctor.portrait import portrait
from dadfi_fast.errors import NothingToDo, UsageError

if TYPE_CHECKING:
    from dadfi_fast.bench.setup import BenchSetup

#: Seconds that the measurement of photos takes, the first round included.
SECONDS: Final = 3.0
#: Seconds that the measurement of the disk takes.
DISK_SECONDS: Final = 0.5
_FIRST_ROUND: Final = 8
_MOST: Final = 512
#: The size of a file in the measurement of the disk: that of a JPEG of one and a half megapixels.
_FILE: Final = 256 << 10


@dataclass(frozen=True)
class Auto:
    """What `auto` chooses here, and why."""

    backend: str
    device: str
    runs: str  # the backend as it describes itself
    why: str
    detector: str
    detector_why: str
    batch: int
    workers: int

    def rows(self) -> list[tuple[str, object, str]]:
        """Option, value, reason."""
        from dadfi_fast.backends.registry import choose_device

        return [
            ("--backend", self.backend, f"{self.runs}: {self.why}"),
            ("--device", self.device, choose_device()[1]),
            ("--detector", self.detector, self.detector_why),
            ("--batch", self.batch, "face crops per generator call"),
            ("--workers", self.workers, "worker threads"),
        ]


@dataclass(frozen=True)
class Speed:
    """Photos a second to expect, disk to disk."""

    photos_per_second: float
    photos: int
    seconds: float
    photo: str  # the file, or "drawn"
    megapixels: float
    format: str
    faces: int


@dataclass(frozen=True)
class DiskSpeed:
    """How fast files are written whole: under a temporary name, flushed, renamed."""

    files_per_second: float
    megabytes_per_second: float


def setup(scratch: Path) -> tuple[Auto, BenchSetup]:
    """A run of protect in the folder ``scratch``, with the settings that `auto` chooses.

    Raises:
        DadfiError: no backend, no detector or no generator works here.
    """
    from dadfi_fast.bench.setup import BenchSetup
    from dadfi_fast.protect.assembly import Assembly
    from dadfi_fast.protect.config import ProtectConfig

    parts = Assembly()
    (kind, why), (device, _), (detector, found_by) = parts.chosen_backend, parts.chosen_device, parts.chosen_detector
    config = ProtectConfig(
        sources=(str(scratch / "in"),), out=scratch / "out", no_face="whole", again=True, device=device
    )
    attack = parts.attack(threads=config.generator_threads)
    runs = attack.backend.describe
    auto = Auto(kind.name, device, runs, why, detector.name, found_by, config.crops_a_batch, config.threads)
    return auto, BenchSetup(config, detector, attack)


def measure(bench_setup: BenchSetup, photo: Path | None, scratch: Path, *, seconds: float = SECONDS) -> Speed:
    """Protect copies of one photo from folder to folder, over and over.

    The first round, in which the network is compiled, does not count; it tells how many photos take about a third of
    the time.

    Raises:
        UsageError: ``photo`` cannot be protected.
        DadfiError: it cannot be protected.
    """
    from dadfi_fast.bench.end_to_end import disk
    from dadfi_fast.bench.photos import gather

    source = scratch / "photo"
    source.mkdir()
    data = photo.read_bytes() if photo else portrait()
    (source / "photo").write_bytes(data)
    try:
        material = gather(source, scratch / "in", count=_FIRST_ROUND)
    except NothingToDo as error:
        raise UsageError(f"cannot protect --photo {photo}") from error
    work = _tidied(
        disk(bench_setup, out=bench_setup.config.folder, attack=bench_setup.attack), bench_setup.config.folder
    )
    started = time.perf_counter()
    work()
    first = time.perf_counter() - started
    count = min(_MOST, max(_FIRST_ROUND, round(_FIRST_ROUND / first * seconds / 3)))
    for number in range(_FIRST_ROUND, count):
        shutil.copy(material.files[0], material.folder / f"{number:05}")
    done, spent = 0, 0.0
    while not done or spent + first < seconds:
        begun = time.perf_counter()
        done += work()
        spent += time.perf_counter() - begun
    rate, megapixels = round(done / spent, 1), round(material.megapixels, 1)
    faces = _faces(bench_setup, data)
    return Speed(rate, done, round(spent, 2), str(photo or "drawn"), megapixels, material.formats[0], faces)


def _tidied(work: Callable[[], int], out: Path) -> Callable[[], int]:
    def run() -> int:
        try:
            return work()
        finally:
            shutil.rmtree(out, ignore_errors=True)

    return run


def _faces(bench_setup: BenchSetup, data: bytes) -> int:
    from dadfi_fast.images.decode import decode, open_picture

    photo = decode(open_picture(data, max_pixels=bench_setup.config.max_pixels), Path("photo"))
    return len(bench_setup.detector(photo.pixels))


def measure_disk(folder: Path, *, seconds: float = DISK_SECONDS) -> DiskSpeed:
    """Write files to ``folder``, several at a time, as a run does.

    Raises:
        DiskError: it cannot be written to.
    """
    from dadfi_fast.protect.pipeline import DISK_THREADS
    from dadfi_fast.protect.prefetch import pools, prefetch
    from dadfi_fast.storage.disk import OutFolder

    out, data = OutFolder(folder), bytes(range(256)) * (_FILE // 256)
    begun = time.perf_counter()

    def write(number: int) -> None:
        out.commit(out.stage(f"{number}", data), f"{number}")

    numbers = itertools.takewhile(lambda _: time.perf_counter() - begun < seconds, itertools.count())
    with pools(compute=1, disk=DISK_THREADS) as threads:
        done = sum(1 for _ in prefetch(numbers, write, pool=threads.disk, ahead=2 * DISK_THREADS))
    spent = time.perf_counter() - begun
    return DiskSpeed(done / spent, done * _FILE / 1e6 / spent)


@contextlib.contextmanager
def scratch(folder: Path | None) -> Iterator[Path]:
    """A folder for temporary files in ``folder``, or where the system has them; gone afterwards."""
    with TemporaryDirectory(prefix="dadfi-doctor-", dir=folder) as name:
        yield Path(name)
