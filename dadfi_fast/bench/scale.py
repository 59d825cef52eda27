"""A run of ``protect`` on very many photos, watched from outside: its memory, its start, its rate, and its rows."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dadfi_fast.bench.rows import Row, package, summarise
from dadfi_fast.bench.synthetic import SyntheticPhotos
from dadfi_fast.errors import BackendMissing, DadfiError
from dadfi_fast.palette import COLOURS
from dadfi_fast.protect.manifest import NAME

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Seconds between two looks.
EVERY: Final = 0.5
#: Points that a row keeps.
POINTS: Final = 120
#: Parts of a run, each with its rate.
PARTS: Final = 20
#: Stages in which a damaged file may fail.
READING: Final = ("read", "decode")


@dataclass(frozen=True)
class MemorySample:
    """One look at the run."""

    seconds: float  # since its process was started
    rows: int  # of the manifest
    rss_mib: float  # memory that the process has in use


@dataclass(frozen=True)
class Wrong:
    """A row that does not say what became of its file, or no row."""

    name: str
    why: str


def watch(command: Sequence[str], out: Path, *, tick: Callable[[int], object] = lambda _: None) -> list[MemorySample]:
    """Run ``command``, which protects into ``out``, to its end; what was seen of it meanwhile.

    Args:
        command: the program and its arguments.
        out: its output folder.
        tick: is told how many rows were added since the last look.

    Raises:
        BackendMissing: this system does not tell the memory of a process in ``/proc``.
        DadfiError: the run wrote no row, or ended with another exit code than 0 and 1 (some files failed).
    """
    if not Path("/proc/self/statm").exists():
        raise BackendMissing("cannot measure process memory: this system has no /proc. Use Linux.")
    start = time.perf_counter()
    samples: list[MemorySample] = []
    rows = _Rows(out / NAME)
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said) as process,
    ):
        while process.poll() is None:
            tick(rows.new())
            if (memory := _rss_mib(process.pid)) is not None:
                samples.append(MemorySample(round(time.perf_counter() - start, 3), rows.count, memory))
            time.sleep(EVERY)
        seconds = round(time.perf_counter() - start, 3)
        tick(rows.new())
        said.seek(0)
        if process.returncode not in (0, 1) or not rows.count:
            raise DadfiError(f"protect ended with exit code {process.returncode}: {said.read().strip()[-500:]}")
    # What the process has while it ends is not its memory at work.
    working = [sample for sample in samples if sample.rows < rows.count] or samples[:1]
    return [*working, *(MemorySample(seconds, rows.count, each.rss_mib) for each in working[-1:])]


def protect_command(photos: SyntheticPhotos, out: Path, *options: str) -> list[str]:
    """``dadfi-fast protect`` on what was made, in this Python; each photo is a face where none is found in it."""
    fixed = ("--no-face", "whole", "--check", "0", "--quiet", "--json")
    return [sys.executable, "-m", "dadfi_fast.cli", "protect", str(photos.folder), "--out", str(out), *fixed, *options]


def wrong(photos: SyntheticPhotos, out: Path) -> list[Wrong]:
    """Everything that is not as it must be.

    A photo: one row, written, its target there with the hash that the row names. A damaged file: one row, failed where
    it was read or decoded, no target. Nothing else lies in ``out``.
    """
    expected = dict(photos.names())
    faults: list[Wrong] = []
    seen: set[str] = set()
    with (out / NAME).open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            name = row["source"]
            if name in seen or name not in expected:
                faults.append(Wrong(name, "a second row" if name in seen else "a row about a file that was not made"))
                continue
            seen.add(name)
            if why := _fault(row, expected[name], out):
                faults.append(Wrong(name, why))
    faults += [Wrong(name, "no row") for name in expected.keys() - seen]
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} - {NAME}
    strange = there - {name for name, damage in expected.items() if damage is None}
    return [*faults, *(Wrong(name, "a file that must not be there") for name in sorted(strange))]


def _fault(row: Mapping[str, Any], damage: str | None, out: Path) -> str | None:
    if damage is not None:
        hop = (row["error"] or {}).get("hop")
        return None if row["status"] == "failed" and hop in READING else f"{damage}, and {row['status']} ({hop})"
    if row["status"] != "written":
        return f"a photo, and {row['status']}: {row['error'] or row['reason']}"
    target = out / row["target"]
    if not target.is_file():
        return "its target is missing"
    same = hashlib.sha256(target.read_bytes()).hexdigest() == row["sha256_target"]
    return None if same else "its target has another hash"


def row_of(photos: SyntheticPhotos, samples: Sequence[MemorySample], faults: Sequence[Wrong], *, provider: str) -> Row:
    """The run as a row: the spread of its rate over `PARTS` parts, and its memory."""
    facts = {
        "photos": photos.count,
        "damaged": photos.damaged,
        "side": photos.size,
        "seconds": samples[-1].seconds,
        "start_up_seconds": start_up(samples),
        "wrong_rows": len(faults),
        **memory(samples),
        "samples": [asdict(sample) for sample in thinned(samples)],
    }
    driver = package(provider.partition("-")[0])
    return summarise("scale", provider, rates(samples), unit="images/s", driver=driver, config=facts)


def start_up(samples: Sequence[MemorySample]) -> float:
    """Seconds from the start of the process to the first row, as near as the looks at it tell."""
    return next((sample.seconds for sample in samples if sample.rows), samples[-1].seconds)


def memory(samples: Sequence[MemorySample]) -> dict[str, float]:
    """MiB at the most; at a tenth of the rows and at the end; and how they grow after the first fifth.

    The growth is the slope of the straight line through the samples (least squares), in MiB for 10,000 rows.
    """
    last = samples[-1].rows
    early = next(sample for sample in samples if sample.rows >= last / 10)
    settled = [(sample.rows, sample.rss_mib) for sample in samples if sample.rows >= last / 5]
    rows, sizes = (np.array(each, float) for each in zip(*settled, strict=True))
    spread = rows - rows.mean()
    slope = float((spread * sizes).sum() / (spread * spread).sum()) if spread.any() else 0.0
    return {
        "rss_mib_peak": round(max(sample.rss_mib for sample in samples), 1),
        "rss_mib_tenth": round(early.rss_mib, 1),
        "rss_mib_end": round(samples[-1].rss_mib, 1),
        "growth_mib_per_10000": round(slope * 10_000, 3),
    }


def rates(samples: Sequence[MemorySample]) -> list[float]:
    """Rows a second in parts of the run with as many samples each, from the first row on."""
    working = [sample for sample in samples if sample.rows]
    ends = np.unique(np.linspace(0, len(working) - 1, min(PARTS, len(working) - 1) + 1).astype(int))
    pairs = [(working[a], working[b]) for a, b in pairwise(ends)]
    speeds = [(b.rows - a.rows) / (b.seconds - a.seconds) for a, b in pairs]
    return speeds or [samples[-1].rows / samples[-1].seconds]


def thinned(samples: Sequence[MemorySample]) -> list[MemorySample]:
    """At most `POINTS` of them, the first and the last included."""
    return [samples[n] for n in np.unique(np.linspace(0, len(samples) - 1, POINTS).astype(int))]


def draw(row: Mapping[str, Any], figure: Figure) -> None:
    """Memory and photos over time, from a row of `row_of` (as JSON has it)."""
    facts = row["config"]
    minutes = [sample["seconds"] / 60 for sample in facts["samples"]]
    axes = figure.subplots()
    axes.plot(minutes, [sample["rss_mib"] for sample in facts["samples"]], color=COLOURS[0])
    axes.set(xlabel="minutes", ylabel="memory of the process, MiB", ylim=(0, 1.25 * facts["rss_mib_peak"]))
    beside = axes.twinx()
    beside.plot(minutes, [sample["rows"] / 1000 for sample in facts["samples"]], color=COLOURS[1], linestyle="--")
    beside.set(ylabel="thousand files done (dashed)", ylim=(0, None))
    grows = f"{facts['growth_mib_per_10000']:+.2f} MiB for 10,000 files after the first fifth"
    axes.set_title(f"{facts['photos']:,} files, {facts['damaged']:,} damaged: {grows}", fontsize=10)


def _rss_mib(pid: int) -> float | None:
    """Resident memory; None once the process is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return round(pages * _page() / 2**20, 2)


def _page() -> int:
    import resource

    return resource.getpagesize()


class _Rows:
    """Counts the lines of a file that grows, reading each part once."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self.count = path, 0, 0

    def new(self) -> int:
        """Lines that were added since the last call."""
        added = sum(block.count(b"\n") for block in self._read())
        self.count += added
        return added

    def _read(self) -> Iterator[bytes]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            while block := file.read(1 << 20):
                self._at += len(block)
                yield block
