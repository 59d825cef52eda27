"""The loop that every training run shares: steps, time limit, checkpoints, resume."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from dadfi_fast.training import checkpoint, distributed

#: By name; tensors without dimensions, still on the device: to read one is to wait for the device.
Losses = dict[str, Tensor]
#: The file in a run's folder that it goes on from.
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Progress:
    """How far a run has come, earlier processes included."""

    steps: int = 0
    minutes: float = 0.0


class Trainer(Protocol):
    """What the loop drives: one step at a time, with a state that can be put away and taken up again."""

    def step(self, number: int, rng: torch.Generator) -> Losses:
        """Do step ``number`` drawing only from ``rng``; returns the losses, detached and not waited for."""

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""

    def load(self, state: dict[str, Any]) -> None:
        """Take up a `state`."""

    def report(self, folder: Path, number: int) -> None:
        """Write what a person looks at (a contact sheet) after step ``number``."""

    def converged(self) -> bool:
        """Whether further steps are of no use."""


def run(
    trainer: Trainer,
    *,
    steps: int,
    seed: int,
    folder: Path,
    max_minutes: float = float("inf"),
    save_every: int = 500,
    log: Callable[[int, dict[str, float], float], None] = lambda number, losses, rate: None,
    saved: Callable[[int], None] = lambda number: None,
    past: Progress | None = None,
) -> Progress:
    """Train until ``steps`` or ``max_minutes`` (of this process), whichever is first; resume if ``folder`` has a state.

    Step ``i`` draws its randomness from a generator seeded with (seed, i), so that an interrupted and resumed run takes
    the same steps as an uninterrupted one.

    Every 50 steps ``log`` is told the step's number, its losses and the steps per second; after each checkpoint
    ``saved`` is told its step. ``past`` is how far the trainer had come when it was handed over; a state in ``folder``
    overrides it.

    Under torchrun every process takes the same steps with randomness of its own, and the first one writes.

    Ctrl-C and SIGTERM end the run after the current step, with its state put away.

    Raises:
        KeyboardInterrupt: the run was ended from outside.
    """
    path, past = folder / CHECKPOINT, past or Progress()
    if path.exists():
        kept = checkpoint.load(path)
        trainer.load(kept["trainer"])
        past = Progress(kept["steps"], kept["minutes"])
    done, start = past.steps, time.monotonic()

    def progress() -> Progress:
        return Progress(done, past.minutes + (time.monotonic() - start) / 60)

    first = distributed.rank() == 0

    def put_away() -> None:
        if first:
            checkpoint.save(path, {"trainer": trainer.state(), **asdict(progress())})
            trainer.report(folder, done)
            saved(done)

    with _asked_to_stop() as stop:

        def over() -> bool:
            late = progress().minutes - past.minutes >= max_minutes
            return distributed.any_of_all(late or stop.is_set() or (first and trainer.converged()))

        while done < steps and not over():
            losses = trainer.step(done, step_rng(seed, done * distributed.world() + distributed.rank()))
            done += 1
            if first and (done % 50 == 0 or done == steps):
                log(done, numbers(losses), (done - past.steps) / (time.monotonic() - start))
            if done % save_every == 0 and done < steps:
                put_away()
    if done > past.steps:
        put_away()
    if stop.is_set():
        raise KeyboardInterrupt
    return progress() if done > past.steps else past


def numbers(losses: Losses) -> dict[str, float]:
    """``losses`` as plain numbers; the device is waited for once, however many there are."""
    return dict(zip(losses, torch.stack([value.float() for value in losses.values()]).tolist(), strict=True))


def step_rng(seed: int, number: int) -> torch.Generator:
    """The random generator of step ``number`` of a run with ``seed``."""
    # PyTorch's generator keeps 32 bits of a seed; an odd factor spreads the runs' seeds over them (Knuth).
    return torch.Generator().manual_seed((number + 2_654_435_761 * seed) % 2**32)


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; a second Ctrl-C ends the process at once."""
    stop = threading.Event()

    def ask(number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
