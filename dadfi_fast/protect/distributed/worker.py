"""What one of several workers does: its tasks, through all stages, with its own shard of the manifest."""

from __future__ import annotations

import glob
import pickle
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from dadfi_fast.attacks.base import Attack, Refiner
from dadfi_fast.errors import DadfiError, PhotoError, UsageError
from dadfi_fast.faces.detector import Detector
from dadfi_fast.protect.config import ProtectConfig, generator_threads
from dadfi_fast.protect.discover import Originals
from dadfi_fast.protect.distributed.manifest_shards import open_shard
from dadfi_fast.protect.interrupt import Stop, until_stopped
from dadfi_fast.protect.malloc import tune_malloc
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.pipeline import meter_for, quiet_codecs, work
from dadfi_fast.protect.results import Failed, Input, Outcome
from dadfi_fast.protect.stages import Stages
from dadfi_fast.protect.strength import Judges
from dadfi_fast.storage.object_store import open_out
from dadfi_fast.storage.paths import parse_path


@dataclass(frozen=True, eq=False)
class WorkerContext:
    """What a worker works with."""

    detector: Detector
    attack: Attack
    facts: Facts
    judges: Judges | None = None


#: Makes a worker's context in the worker itself; it is pickled on its way there.
ContextFactory: TypeAlias = Callable[[ProtectConfig], WorkerContext]


@dataclass(frozen=True, kw_only=True)
class GeneratorContextFactory:
    """Makes the context that the options of ``protect`` name; the device is that of the config it is called with.

    Raises:
        UsageError: the generator is another one here, or not there.
        BackendMissing: the backend or the detector cannot run here.
    """

    generator: str  # its name, or a file that must be at the same place on every machine
    sha256: str  # of the generator where the run was started
    backend: str
    detector: str
    detector_model: Path | None
    refiner: Callable[[ProtectConfig], Refiner | None] | None = None  # a function of a module: it is pickled

    def __call__(self, config: ProtectConfig) -> WorkerContext:
        from dadfi_fast.protect.assembly import Assembly

        parts = Assembly(
            generator=self.generator,
            backend=self.backend,
            device=config.device,
            detector=self.detector,
            detector_model=self.detector_model,
            small_faces=config.small_faces,
        )
        if parts.generator_file.sha256 != self.sha256:
            raise UsageError(
                f"{self.generator} is a different file on this machine."
                " Install the same version of dadfi-fast on all machines."
            )
        if config.judges and tuple(card.sha256 for card in parts.judge_cards) != config.judges:
            raise UsageError(
                "the deepfake models that --strength auto chooses by are different on this machine."
                " Add the same ones on all machines."
            )
        judges = parts.judges(threads=config.threads) if config.judges else None
        attack = parts.attack(config.generated, threads=generator_threads(config.threads))
        attack.refiner = self.refiner(config) if self.refiner else None
        return WorkerContext(parts.chosen_detector[0], attack, parts.facts(config, attack), judges)


@dataclass(frozen=True)
class Task:
    """Some of the inputs, one after the other."""

    shard: str  # name of the shard of the manifest
    items: tuple[Input, ...]  # inputs, and outcomes of those that need no work


@dataclass(frozen=True)
class TaskResult:
    """What became of a task; of fewer inputs than it had where the run was told to stop."""

    outcomes: tuple[Outcome, ...]
    facts: Facts  # what their rows say of the worker
    stages: dict[str, tuple[int, float]]  # photos and seconds of each stage
    fault: DadfiError | None = None  # of the run: the disk is full, the store is gone


class Worker:
    """Works on one task after the other; made once in its process.

    Args:
        config: of the run, with the threads and the device of this worker.
        factory: makes its context.
        known: a file of the run in the output folder, which must be seen from here.

    Raises:
        DadfiError: it cannot work here; the message says how to fix it.
    """

    def __init__(self, config: ProtectConfig, factory: ContextFactory, known: str) -> None:
        tune_malloc()
        self._config = replace(config, on_exists="overwrite")  # the run has settled which target each input gets
        if isinstance(config.out, Path) and not (config.out / known).exists():
            raise UsageError(
                f"--out {config.out} is a different folder on this machine."
                " Choose one that all machines share, or a URL."
            )
        for source in config.sources:
            folder = parse_path(source)
            if isinstance(folder, Path) and not glob.has_magic(source) and not folder.exists():
                raise UsageError(
                    f"{source} does not exist on this machine. Choose a folder that all machines share, or a URL."
                )
        self._originals = Originals(config.sources, config.out)
        self._context = factory(config)

    @property
    def describe(self) -> str:
        """What runs here, and why."""
        return self._context.facts.backend

    def do(self, task: Task, stop: Stop) -> TaskResult:
        """Work on a task; ``stop`` lets the photos that are under way get finished in time and takes no more."""
        context, meter = self._context, meter_for(self._config)
        out = open_out(self._config.out, refuse=self._originals.refuse)
        stages = Stages(self._config, context.detector, context.attack, out, judges=context.judges)
        outcomes: list[Outcome] = []
        fault = None
        with closing(open_shard(self._config.out, context.facts, task.shard)) as shard:
            try:
                items = until_stopped(task.items, stop)
                done = work(items, stages, context.attack, journal=shard, meter=meter, stop=stop)
                with quiet_codecs(), closing(done):
                    outcomes.extend(map(_portable, done))
            except DadfiError as error:
                fault = error
            finally:
                out.close()
        return TaskResult(tuple(outcomes), context.facts, meter.totals(), fault)


def _portable(outcome: Outcome) -> Outcome:
    """With an error that can be sent to another process: some can be pickled and not be read again."""
    if not isinstance(outcome, Failed):
        return outcome
    try:
        pickle.loads(pickle.dumps(outcome.error))
    except Exception:
        kind = type(outcome.error).__name__
        return replace(outcome, error=PhotoError(str(outcome.error) or kind))
    return outcome
