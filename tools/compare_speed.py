"""Protect the same photos with two checkouts in turn, and say how much more CPU time one takes than the other.

    python tools/compare_speed.py BEFORE AFTER PHOTOS [--times 7] [--core 0] [--json FILE] [-- OPTION...]

BEFORE and AFTER are folders that hold a checkout each, with the environment that it was installed into: PYTHON is
FOLDER/.venv/bin/python, or .venv-test, unless --before-python and --after-python say otherwise. What stands behind
`--` goes to `protect` of both; --before-options and --after-options are for one of them, where their command lines
differ.

CPU time is user and system time of the run and all its child processes (wait4). Each round has a run of both, of which
the one begins in odd and the other in even rounds, and a run of both on the first photo alone. `whole run` compares the
first two; `a photo` is what each photo beyond the first one adds, without the start. A first round is thrown away: it
fills caches. The ratio is AFTER / BEFORE of a round, and its median stands there with the interval of the sign test,
which makes no assumption about how times are distributed. Unix only; pinning to a core wants Linux.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

#: Where a checkout's environment may be.
PYTHONS: Final = (".venv/bin/python", ".venv-test/bin/python")
#: What both get. A check runs other models, whose number may differ.
OPTIONS: Final = ("--check", "0", "--quiet")
MANIFEST: Final = "dadfi-manifest.jsonl"
#: An interval has to hold the median with this probability.
SURE: Final = 0.95


class RunError(Exception):
    """A run that says nothing about speed."""


@dataclass(frozen=True)
class Checkout:
    """One of the two that are compared."""

    name: str
    folder: Path
    python: Path
    options: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One run of protect."""

    checkout: str
    round: int
    photos: int  # that were given to it
    cpu: float  # seconds
    wall: float  # seconds
    statuses: dict[str, int]  # of the manifest's rows


def run(checkout: Checkout, photos: Sequence[Path], work: Path, number: int) -> Run:
    """Protect the photos into a new folder, which is removed again.

    Raises:
        RunError: the run did not end well.
    """
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [str(checkout.python), "-m", "dadfi_fast.cli", "protect", *map(str, photos), "--out", str(out)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    start = time.perf_counter()
    with (work / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*command, *OPTIONS, *checkout.options],
            cwd=checkout.folder,  # -m looks there first, wherever the environment has been installed from
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode != 0:
        said = (work / "stderr").read_text("utf-8", "replace").strip()
        raise RunError(f"{checkout.name} ended with exit code {process.returncode}: {said[-2000:]}")
    rows = (out / MANIFEST).read_text("utf-8").splitlines()
    statuses = Counter(json.loads(row)["status"] for row in rows)
    return Run(checkout.name, number, len(photos), usage.ru_utime + usage.ru_stime, wall, dict(statuses))


def compared(checkouts: Sequence[Checkout], photos: Sequence[Path], times: int, work: Path) -> list[Run]:
    """The runs of all rounds, without those of the first one.

    Raises:
        RunError: a run did not end well, or the two have not done the same.
    """
    runs: list[Run] = []
    for number in range(times + 1):
        ordered = checkouts if number % 2 else checkouts[::-1]
        pair = [run(each, part, work, number) for part in (photos, photos[:1]) for each in ordered]
        if pair[0].statuses != pair[1].statuses:
            raise RunError(f"they did not do the same: {pair[0].statuses} and {pair[1].statuses}")
        if number:
            runs += pair
            print(
                f"round {number} of {times}: " + ", ".join(f"{r.checkout} {r.cpu:.2f} s" for r in pair[:2]), flush=True
            )
    return runs


def median_interval(values: Sequence[float]) -> tuple[float, float, float, float]:
    """The median, and an interval that holds the true one with a probability, which comes last (sign test).

    The probability is at least `SURE` where there are six values or more; with fewer it is what they allow.
    """
    ordered, n = sorted(values), len(values)
    inner = 0
    while inner + 1 < (n + 1) // 2 and _probability(n, inner + 1) >= SURE:
        inner += 1
    return statistics.median(ordered), ordered[inner], ordered[n - 1 - inner], _probability(n, inner)


def _probability(n: int, left_out: int) -> float:
    """That the median is inside, if so many values are left out on each side."""
    return float(1 - 2 * sum(math.comb(n, k) for k in range(left_out + 1)) / 2**n)


def table(runs: Sequence[Run], before: str, after: str) -> list[str]:
    """Lines for people."""
    most = max(each.photos for each in runs)
    cpu = {(r.checkout, r.round, r.photos > 1): r.cpu for r in runs}
    wall = {(r.checkout, r.round): r.wall for r in runs if r.photos == most}
    numbers = sorted({r.round for r in runs})
    lines = [f"{'':22}{before:>14}{after:>14}  {after} / {before}"]

    def line(name: str, unit: str, first: list[float], second: list[float]) -> None:
        middle, low, high, sure = median_interval([b / a for a, b in zip(first, second, strict=True)])
        figures = "".join(f"{statistics.median(values):14.3f}" for values in (first, second))
        lines.append(
            f"{name + ', ' + unit:22}{figures}  {middle:.3f} ({low:.3f} to {high:.3f}, {100 * sure:.0f} %,"
            f" n = {len(first)})"
        )

    whole = [[cpu[name, n, most > 1] for n in numbers] for name in (before, after)]
    line("whole run", "CPU s", *whole)
    if most > 1:
        a_photo = [
            [1000 * (cpu[name, n, True] - cpu[name, n, False]) / (most - 1) for n in numbers]
            for name in (before, after)
        ]
        line("a photo", "core-ms", *a_photo)
    line("whole run", "wall s", *([wall[name, n] for n in numbers] for name in (before, after)))
    return lines


def _checkout(name: str, folder: Path, python: Path | None, options: Sequence[str]) -> Checkout:
    folder = folder.resolve()
    interpreter = python or next((folder / each for each in PYTHONS if (folder / each).exists()), None)
    if interpreter is None or not interpreter.exists():
        raise SystemExit(f"no Python for {folder}: make an environment at {PYTHONS[0]}, or pass --{name}-python")
    return Checkout(
        name, folder, interpreter.absolute(), tuple(options)
    )  # not resolved: a link leads out of the environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see the head of this file."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[words.index("--") + 1 :] if "--" in words else []
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="%(prog)s BEFORE AFTER PHOTOS"
    )
    parser.add_argument("before", type=Path, help="folder of a checkout")
    parser.add_argument("after", type=Path, help="folder of the other one")
    parser.add_argument("photos", type=Path, help="folder whose files are protected; folders in it are not")
    parser.add_argument("--times", type=int, default=7, metavar="N", help="rounds that count [default: 7]")
    parser.add_argument("--core", type=int, metavar="N", help="run on this core alone")
    for name in ("before", "after"):
        parser.add_argument(f"--{name}-python", type=Path, metavar="FILE")
        parser.add_argument(f"--{name}-options", type=shlex.split, default=[], metavar="'OPTIONS'")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run")
    args = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    photos = sorted(path.resolve() for path in args.photos.iterdir() if path.is_file())
    if not photos or args.times < 1:
        parser.error("there has to be a photo and a round")
    checkouts = [
        _checkout(
            name, getattr(args, name), getattr(args, f"{name}_python"), [*options, *getattr(args, f"{name}_options")]
        )
        for name in ("before", "after")
    ]
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    with tempfile.TemporaryDirectory(prefix="compare-speed-") as work:
        try:
            runs = compared(checkouts, photos, args.times, Path(work))
        except RunError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print("\n".join(table(runs, *(each.name for each in checkouts))))
    if args.json:
        args.json.write_text(json.dumps([asdict(each) for each in runs], indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
