#!/usr/bin/env python3
"""Work through a list of trainings of deepfake models, one after the other, each from where it stopped.

    train_queue.py QUEUE.toml --data DIR --runs DIR [--minutes M] [--background]
    train_queue.py QUEUE.toml --runs DIR --status
    train_queue.py QUEUE.toml --runs DIR --pack NAME ... --out DIR

The first trains, and with --background returns at once; the second says what is done and what is left; the third writes
compact checkpoints, from which a training goes on elsewhere.

QUEUE.toml names the archives, and each training with the options of ``dadfi-fast models train``; see tools/queue.toml.
A training whose folder in --runs has a checkpoint goes on from it; else it starts from what ``from`` names, if that is
there, else anew. Whatever ends a run (the time limit, Ctrl-C, SIGTERM), its state is saved first.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What glibc is told: big tensors stay with the process instead of going back to the system after each layer. A step of
#: StarGAN at 128 pixels takes a twelfth less time.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
#: Seconds that a training may take to save its state.
PATIENCE = 300


@dataclass(frozen=True)
class Training:
    """One entry of the queue."""

    name: str  # of its folder in --runs
    family: str
    steps: int
    seed: int = 0
    image_size: int = 128
    start: str = ""  # compact checkpoint or card to start from, beside the queue's file
    snapshots: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def command(
        self, queue: Queue, data: Path, runs: Path, *, minutes: float, threads: int, save_every: int
    ) -> list[str]:
        """The call of ``dadfi-fast``, by module so that it runs in this very environment."""
        options: list[object] = ["--attributes", data / queue.attributes, "--out", runs / self.name]
        for archive in queue.train:
            options += ["--data", data / archive]
        for archive in queue.test:
            options += ["--test", data / archive]
        start = queue.folder / self.start
        if self.start and start.is_file():
            options += ["--from", start]
        options += ["--image-size", self.image_size, "--steps", self.steps, "--seed", self.seed]
        options += ["--max-minutes", f"{minutes:.2f}", "--threads", threads, "--save-every", save_every]
        options += ["--snapshots", self.snapshots]
        for key, value in self.settings.items():
            options += ["--set", f"{key}={json.dumps(value)}"]
        return [sys.executable, "-m", "dadfi_fast.cli", "models", "train", self.family, *map(str, options)]


@dataclass(frozen=True)
class Queue:
    """The file."""

    folder: Path
    train: tuple[str, ...]
    test: tuple[str, ...]
    attributes: str
    trainings: tuple[Training, ...]


def read_queue(path: Path) -> Queue:
    """Read QUEUE.toml.

    Raises:
        SystemExit: a key is missing or unknown, or two trainings have one name.
    """
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    try:
        trainings = tuple(
            Training(**{("start" if k == "from" else k): v for k, v in t.items()}) for t in facts["training"]
        )
        data = facts["data"]
        queue = Queue(path.parent, tuple(data["train"]), tuple(data.get("test", ())), data["attributes"], trainings)
    except (KeyError, TypeError) as error:
        raise SystemExit(f"{path}: {error}; see tools/queue.toml for an example") from error
    names = [training.name for training in trainings]
    if len(set(names)) < len(names):
        raise SystemExit(f"{path}: two trainings have one name; each needs a folder of its own")
    return queue


def steps_done(folder: Path) -> tuple[int, float]:
    """Steps and minutes of the checkpoint in ``folder``; 0 without one."""
    from dadfi_fast.training import checkpoint
    from dadfi_fast.training.loop import CHECKPOINT

    if not (folder / CHECKPOINT).is_file():
        return 0, 0.0
    state = checkpoint.load(folder / CHECKPOINT)
    return state["steps"], state["minutes"]


def status(queue: Queue, runs: Path) -> str:
    """A line for each training: steps done and left, minutes, and the last point of its curve of edit accuracy."""
    lines = []
    for training in queue.trainings:
        steps, minutes = steps_done(runs / training.name)
        curve = runs / training.name / "curve.jsonl"
        points = curve.read_text(encoding="utf-8").splitlines() if curve.is_file() else []
        shares = {k: v for k, v in json.loads(points[-1]).items() if k not in ("step", "n")} if points else {}
        told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items() if share == share)
        left = max(0, training.steps - steps)
        lines.append(
            f"{training.name}: {steps} of {training.steps} steps, {left} left, {minutes:.0f} min"
            + (f"; {told}" if told else "")
        )
    return "\n".join(lines)


def work(queue: Queue, data: Path, runs: Path, *, minutes: float, threads: int, save_every: int) -> int:
    """Train in the queue's order until all is done or the time is up.

    Returns:
        The exit code of the first training that failed, else 0.
    """
    end = time.monotonic() + 60 * minutes
    ended = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal ended
        ended = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    for training in queue.trainings:
        left = (end - time.monotonic()) / 60
        if ended or left <= 0:
            break
        if steps_done(runs / training.name)[0] >= training.steps:
            continue
        (runs / training.name).mkdir(parents=True, exist_ok=True)
        command = training.command(queue, data, runs, minutes=left, threads=threads, save_every=save_every)
        with (runs / training.name / "log.txt").open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=MALLOC | os.environ)
            while process.poll() is None:
                time.sleep(0.5)
                if ended:
                    process.send_signal(signal.SIGTERM)
                    process.wait(PATIENCE)
        if process.returncode and not ended:
            print(f"{training.name} failed; see {runs / training.name / 'log.txt'}", file=sys.stderr)
            return process.returncode
    print(status(queue, runs))
    return 0


def pack(queue: Queue, runs: Path, names: Sequence[str], out: Path, *, critic: bool) -> None:
    """Write NAME.pt for each of ``names``, from which the training goes on elsewhere.

    Raises:
        SystemExit: a training is unknown, or has no checkpoint.
    """
    from dadfi_fast.training import checkpoint
    from dadfi_fast.training.loop import CHECKPOINT

    queue_names = {training.name for training in queue.trainings}
    for name in names:
        if name not in queue_names or not (runs / name / CHECKPOINT).is_file():
            raise SystemExit(f"{name} has no checkpoint in {runs}; in the queue are: {', '.join(sorted(queue_names))}")
    for name in names:
        small = checkpoint.compact(checkpoint.load(runs / name / CHECKPOINT), critic=critic)
        checkpoint.save(out / f"{name}.pt", small)
        print(f"{out / f'{name}.pt'}: {small['steps']} steps, {(out / f'{name}.pt').stat().st_size / 1e6:.1f} MB")


def main() -> int:
    """The command line."""
    assert __doc__
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("queue", type=Path)
    options.add_argument("--data", type=Path, help="folder of the archives and of the table of attributes")
    options.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the trainings' folders [runs]")
    options.add_argument("--minutes", type=float, default=float("inf"), help="stop after this long")
    options.add_argument("--threads", type=int, default=1, help="CPU threads of a training [1]")
    options.add_argument("--save-every", type=int, default=250, help="steps between checkpoints [250]")
    options.add_argument("--background", action="store_true", help="start and return; the log is RUNS/queue.log")
    options.add_argument("--status", action="store_true", help="say what is done and what is left")
    options.add_argument("--pack", nargs="+", metavar="NAME", help="write compact checkpoints of these trainings")
    options.add_argument(
        "--no-critic", action="store_true", help="with --pack: leave the critic out; a new one warms up"
    )
    options.add_argument("--out", type=Path, default=Path(), help="folder for --pack")
    args = options.parse_args()
    queue = read_queue(args.queue)
    if args.status:
        print(status(queue, args.runs))
        return 0
    if args.pack:
        pack(queue, args.runs, args.pack, args.out, critic=not args.no_critic)
        return 0
    if args.data is None:
        options.error("name the folder of the archives with --data")
    if args.background:
        words = [word for word in sys.argv[1:] if word != "--background"]
        args.runs.mkdir(parents=True, exist_ok=True)
        with (args.runs / "queue.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, __file__, *words], stdout=log, stderr=log, start_new_session=True
            )
        print(f"training in process {process.pid}; end it with: kill {process.pid}")
        return 0
    limits: dict[str, Any] = {"minutes": args.minutes, "threads": args.threads, "save_every": args.save_every}
    return work(queue, args.data, args.runs, **limits)


if __name__ == "__main__":
    sys.exit(main())
