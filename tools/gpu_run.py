"""What does this GPU do, and train on it: every measurement and training worth having, in one call of limited time.

    python3 tools/gpu_run.py --out RESULTS --minutes 9.3
    python3 tools/gpu_run.py --out RESULTS --rehearse        # every phase on the CPU, tiny
    python3 tools/gpu_run.py --release RESULTS --out MODELS  # afterwards: trained weights as ONNX files with cards

The phases run in order of worth, each in a process of its own and within a budget. They write rows to
RESULTS/rows.jsonl as they go; one that fails or hangs costs its own budget at most. docs/gpu-run.md says what each does
and what to expect. Needs torch, onnx, onnxruntime and Pillow; for the kernels cuda-core and NVRTC, for torch.compile
triton.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from gpu_phases.plan import FAMILIES, SIZES, Plan  # noqa: E402  (the path comes first)


@dataclass(frozen=True)
class Phase:
    """A phase, and what of the time it gets."""

    about: str
    seconds: float  # budget where there are 13 minutes
    most: float = 1.5  # of `seconds`, where there is more time
    puts_away: bool = False  # whether it is given time to, when its budget is used up
    environment: Mapping[str, str] = field(default_factory=dict)


#: In order of worth, after the data that the trainings need.
PHASES: Final = {
    "data": Phase("decode the archive once, for all trainings", 30),
    "kernels": Phase("every kernel against float64; the ladder against a copy of memory", 50),
    "generator-torch": Phase("the generator without our kernels", 35, environment={"DADFI_KERNELS": "off"}),
    "generator-kernels": Phase("the generator with our kernels", 35),
    "steps": Phase("training steps a second of each family, with and without CUDA graphs", 80),
    "deepfakes": Phase("train the four families side by side", 330, most=100, puts_away=True),
    "protector": Phase("train the generator against them", 170, most=100, puts_away=True),
    "codecs": Phase("memory to memory, with the decoders and encoders that are here", 30),
}
#: Seconds that are kept back: for what has to be put away, and for the summary.
RESERVE: Final = 12.0
#: Seconds between asking a process to stop and ending it.
GRACE: Final = 10.0


class Running:
    """A phase's processes, which write to ``log``."""

    def __init__(self, plan: Plan, name: str, seconds: float, log: Path) -> None:
        self._plan, self._name, self._log = plan, name, log
        self._end = time.monotonic() + seconds
        self._retried: set[str] = set()
        families = FAMILIES if name == "deepfakes" else ("",)
        self._processes = {family: self._start(family) for family in families}

    def wait(self) -> dict[str, str]:
        """Wait until all have ended or the budget has: how each that did not end well did, by family."""
        late: list[subprocess.Popen[bytes]] = []
        try:
            while time.monotonic() < self._end and self._tend():
                time.sleep(0.2)
        finally:
            late = [process for process in self._processes.values() if process.poll() is None]
            for number in (signal.SIGTERM, signal.SIGKILL):  # the first has trainings put their state away
                self._signal(late, number)
        ends = {family: process.wait() for family, process in self._processes.items()}
        words = {family: _how(code, self._processes[family] in late) for family, code in ends.items()}
        return {family: word for family, word in words.items() if word}

    def _signal(self, late: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
        """Send a signal to processes and all that they have started, and give them time to end."""
        for process in late:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        grace = self._plan.grace if PHASES[self._name].puts_away else 0.5
        until = time.monotonic() + (grace if number == signal.SIGTERM else 5)
        while any(process.poll() is None for process in late) and time.monotonic() < until:
            time.sleep(0.1)

    def _tend(self) -> bool:
        """Start once more, as plainly as can be, the trainings that have failed; whether anything still runs."""
        for family, process in self._processes.items():
            time_left = self._end - time.monotonic()
            if family and process.poll() and family not in self._retried and time_left > 3 * self._plan.grace:
                self._retried.add(family)
                print(f"{self._name} {family}: {_how(process.wait(), False)}; once more without speedups", flush=True)
                self._processes[family] = self._start(family, "--speedup", "none")
        return any(process.poll() is None for process in self._processes.values())

    def _start(self, family: str, *more: str) -> subprocess.Popen[bytes]:
        seconds = str(self._end - time.monotonic())
        words = [sys.executable, __file__, "--phase", self._name, "--out", str(self._plan.out), "--seconds", seconds]
        words += ["--family", family, *more] if family else []
        environment = {**os.environ, **PHASES[self._name].environment, "PYTHONUNBUFFERED": "1"}
        environment |= {"DADFI_MODELS": str(self._plan.work / "models")}  # nothing of the user's
        environment |= {"DADFI_KERNELS_FOLDER": str(self._plan.work / "kernels")}
        with self._log.open("ab") as log:
            # A group of its own, so that what it starts is ended with it; not a session, which would outlive this one.
            return subprocess.Popen(words, stdout=log, stderr=log, env=environment, preexec_fn=os.setpgrp)


def main() -> int:
    """Run what the arguments ask for; 1 if a phase failed, there was no time for it or it was interrupted, else 0."""
    arguments = _arguments()
    if not arguments.phase:  # so that processes are ended however this one is
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if arguments.phase:
        from gpu_phases import run_phase

        plan = Plan.read(arguments.out)
        run_phase(arguments.phase, plan, arguments.seconds, arguments.family, arguments.speedup)
        return 0
    if arguments.release:
        from gpu_phases.release import release

        release(arguments.release, arguments.out)
        return 0
    if arguments.arithmetic:
        from gpu_phases.arithmetic import print_table

        print_table()
        return 0
    return _run_all(arguments)


def _run_all(arguments: argparse.Namespace) -> int:
    start = time.monotonic()
    plan = _plan(arguments)
    plan.out.mkdir(parents=True, exist_ok=True)
    if plan.rehearse:
        shutil.rmtree(plan.work, ignore_errors=True)
    plan.work.mkdir(parents=True, exist_ok=True)
    plan.write()
    end = start + 60 * arguments.minutes - min(RESERVE, 3 * arguments.minutes)
    names = [name for name in PHASES if name in arguments.phases or name == "data"]
    try:
        failed = _phases_until(names, end, plan)
    except KeyboardInterrupt:
        print("interrupted; the summary is of what there is", flush=True)
        failed = True
    from gpu_phases.results import finish

    finish(plan)
    if plan.rehearse:
        shutil.rmtree(plan.work)
    print(f"{time.monotonic() - start:.0f} s in all; results in {plan.out}", flush=True)
    return int(failed)


def _phases_until(names: Sequence[str], end: float, plan: Plan) -> bool:
    """Run the phases ``names`` by ``end``; whether one failed, or there was no time for it."""
    failed = False
    for index, name in enumerate(names):
        left = end - time.monotonic()
        grace = plan.grace if PHASES[name].puts_away else 1.0
        seconds = _budget(names[index:], left) - grace
        if seconds <= 0:
            print(f"{name}: left out, no time left", flush=True)
            failed = True
            continue
        begun = time.monotonic()
        ends = Running(plan, name, seconds, plan.out / "log.txt").wait()
        failed |= any("failed" in word for word in ends.values())
        how = "; ".join(f"{family} {word}".strip() for family, word in ends.items()) or "done"
        print(f"{name} ({PHASES[name].about}): {how}, {time.monotonic() - begun:.0f} s of {seconds:.0f}", flush=True)
        if "failed" in how:
            print(f"    {_last_line(plan.out / 'log.txt')}", flush=True)
    return failed


def _budget(names: Sequence[str], left: float) -> float:
    """Seconds for the first of the phases ``names`` that are still to come, of the ``left`` ones."""
    seconds = [PHASES[name].seconds for name in names]
    return min(left * seconds[0] / sum(seconds), seconds[0] * PHASES[names[0]].most)


def _last_line(log: Path) -> str:
    """What was said last, which of a traceback is the error."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")


def _how(code: int, late: bool) -> str:
    """How a process ended that did not end well; nothing of one that did."""
    if late:
        return "ran out of time"
    return f"failed with code {code} (see log.txt)" if code else ""


def _plan(arguments: argparse.Namespace) -> Plan:
    rehearse = arguments.rehearse
    return Plan(
        out=arguments.out.resolve(),
        work=(arguments.work or (arguments.out / "rehearsal" if rehearse else ROOT / "runs" / "gpu")).resolve(),
        data=arguments.data.resolve(),
        start=arguments.start.resolve() if arguments.start else None,
        device="cpu" if rehearse else arguments.device,
        sizes="rehearsal" if rehearse else arguments.sizes,
        image_size=32 if rehearse else arguments.image_size,
        recipe=arguments.recipe,
        seed=arguments.seed,
        rehearse=rehearse,
        grace=2.0 if rehearse else GRACE,
        commit=arguments.commit,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/gpu-results"), help="Folder of the results: at most 8 files.")
    add("--minutes", type=float, default=9.3, help="Everything ends within this time [default: 9.3].")
    add("--phases", type=_phases, default=tuple(PHASES), help=f"Some of {','.join(PHASES)} [default: all].")
    add("--data", type=Path, default=ROOT / "data", help="Folder with a tar of faces and its CSV [default: data].")
    add("--start", type=Path, help="Folder of compact checkpoints (one file a family) to start from.")
    add("--sizes", choices=[name for name in SIZES if name != "rehearsal"], default="fitted", help="Widths [fitted].")
    add("--image-size", type=int, default=128, help="Pixels a side of the deepfake models [default: 128].")
    add("--recipe", default="release", help="Recipe of the generator's training [default: release].")
    add("--seed", type=int, default=0, help="Seed of the trainings [default: 0].")
    add("--device", default="cuda", help="cuda, cuda:N or cpu [default: cuda].")
    add(
        "--work", type=Path, help="Folder that is kept between calls, so that the next one goes on [default: runs/gpu]."
    )
    add("--commit", default="", help="What rows name as the commit, where there is no git.")
    add("--rehearse", action="store_true", help="Every phase on the CPU, with tiny networks.")
    add("--release", type=Path, metavar="RESULTS", help="Write the weights in RESULTS to --out as ONNX, with cards.")
    add("--arithmetic", action="store_true", help="Print the table of expected steps a second.")
    for name, kind in (("--phase", str), ("--seconds", float), ("--family", str), ("--speedup", str)):
        add(name, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


def _phases(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in PHASES]:
        raise argparse.ArgumentTypeError(f"no phase is called {unknown[0]!r}; there are: {', '.join(PHASES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
