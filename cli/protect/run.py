"""One call of ``protect``: what was chosen, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dadfi_fast.check.manifest_summary import refined
from dadfi_fast.cli import console
from dadfi_fast.cli.check import show_figures
from dadfi_fast.cli.protect import messages
from dadfi_fast.cli.protect.engine import Engine
from dadfi_fast.cli.protect.sample import CheckSample
from dadfi_fast.cli.protect.trace import trace_to
from dadfi_fast.cli.report import Reporter
from dadfi_fast.errors import NothingToDo, UsageError
from dadfi_fast.protect.config import AUTO, ProtectConfig

if TYPE_CHECKING:
    from dadfi_fast.api import Protector
    from dadfi_fast.check.callbacks import Callback
    from dadfi_fast.check.pairs import Pair
    from dadfi_fast.check.result import CheckResult
    from dadfi_fast.deepfakes.encoders import EncoderModel
    from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
    from dadfi_fast.protect.distributed.pool import WorkerPool
    from dadfi_fast.protect.distributed.worker import GeneratorContextFactory
    from dadfi_fast.protect.manifest import Facts
    from dadfi_fast.protect.meter import Meter
    from dadfi_fast.protect.results import Entry, Failed, Outcome
    from dadfi_fast.protect.summary import Summary
    from dadfi_fast.protect.watch import Watcher


class Run:
    """One call of the command: what was chosen, and what it says to the user."""

    def __init__(
        self,
        config: ProtectConfig,
        protector: Protector,
        *,
        quiet: bool,
        verbose: bool,
        engine: Engine | None = None,
    ) -> None:
        self.config, self.protector, self.parts = config, protector, protector.parts
        self.generator_file = self.parts.generator_file
        self.engine = engine or Engine()
        if not self.engine.elsewhere:
            _ = self.parts.chosen_backend  # that it cannot run is said now
        self.say: Callable[[str], None] = (lambda _: None) if quiet else console.message
        self.quiet, self.verbose = quiet, verbose
        self.sample = CheckSample(0, config.out)
        self._started = False
        self._pool: WorkerPool | None = None

    @property
    def pool(self) -> WorkerPool | None:
        """Who does the work, where it is not this process; found at the first call."""
        if self._pool is None:
            self._pool = self.engine.pool(self.config, self._context_factory())
            if self._pool is not None:
                self.say(f"{self.generator_file.name} on {self._pool.describe}; {self._others}")
        return self._pool

    def _context_factory(self) -> GeneratorContextFactory:
        from dadfi_fast.api import refiner_of
        from dadfi_fast.protect.distributed.worker import GeneratorContextFactory

        return GeneratorContextFactory(
            generator=str(self.parts.generator),
            sha256=self.generator_file.sha256,
            backend=self.parts.backend,
            detector=self.config.detector,
            detector_model=self.parts.detector_model,
            refiner=refiner_of,
        )

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.close()

    def plan(self, *, as_json: bool) -> None:
        """Say what would be done."""
        from dadfi_fast.protect.dry_run import dry_run

        rows = dry_run(self.config, self._known)
        if as_json:
            console.json({"plan": (planned := list(rows)), "total": len(planned)})
            return
        total = 0
        for row in rows:
            total += 1
            console.result(messages.planned(row))
        if not total:
            raise NothingToDo(f"no file in {', '.join(self.config.sources)}")

    def protect(
        self, *, samples: int, watched: tuple[Watcher, int] | None = None, profile: Path | None = None
    ) -> Summary:
        """Do it; ``watched``: only what is ready, of which there are so many; ``profile``: the file for a trace."""
        if self.pool is not None:
            if profile:
                raise UsageError(
                    "--profile covers a single process and cannot be combined with --engine ray or --processes"
                )
            return self._by(self.pool, samples, watched)
        from dadfi_fast.protect.pipeline import meter_for

        self.ready()
        total = watched[1] if watched else self._count()
        meter = meter_for(self.config)
        self.sample = CheckSample(samples, self.config.out)
        traced = trace_to(meter, profile, device=self.config.device)
        with traced, self._shown(total, meter) as tick:
            only, renew = _which(watched)
            return self.protector.run(self.config, tick=tick, meter=meter, say=self.say, only=only, renew=renew)

    def _by(self, pool: WorkerPool, samples: int, watched: tuple[Watcher, int] | None) -> Summary:
        """Let others do it."""
        from dadfi_fast.protect.distributed.run import protect_distributed
        from dadfi_fast.protect.meter import Meter
        from dadfi_fast.protect.pipeline import DISK_THREADS

        self.sample = CheckSample(samples, self.config.out)
        total = watched[1] if watched else self._count()
        meter = Meter(compute=pool.size * pool.threads, disk=pool.size * DISK_THREADS, generators=pool.size)
        with self._shown(total, meter) as tick:
            only, renew = _which(watched)
            return protect_distributed(
                pool, self.config, facts=self._known, meter=meter, tick=tick, say=self.say, only=only, renew=renew
            )

    @contextmanager
    def _shown(self, total: int | None, meter: Meter) -> Iterator[Callable[[Outcome], None]]:
        """Progress while a run goes on; gives what is to be called with every outcome."""
        from dadfi_fast.cli.progress import show_progress

        def detail() -> str:
            return messages.stages(meter.stages())

        with show_progress(total, quiet=self.quiet, detail=detail) as progress:

            def tick(outcome: Outcome) -> None:
                progress.advance()
                self.sample.add(outcome)
                if self.verbose:
                    self.say(messages.line(outcome))

            yield tick

    def prepare(self) -> None:
        """What takes its time before the first photo: the generator, or a cluster."""
        if self.pool is None:
            self.ready()

    def ready(self) -> None:
        """Load the generator at the first call, which says what runs."""
        from dadfi_fast.protect.malloc import tune_malloc

        if not self._started:
            tune_malloc()
            backend = self.parts.facts(self.config, self.protector.attack).backend
            self.say(f"{self.generator_file.name} on {backend}; {self._others}")
            if self.config.refined:
                self.say(refined(self.config.refined))
            self._started = True

    @property
    def _others(self) -> str:
        """What works beside the generator."""
        said = f"detector: {self.parts.faces_by}"
        if self.config.strength != AUTO:
            return said
        return f"{said}; strength chosen by {', '.join(card.name for card in self.parts.judge_cards)}"

    def check(self, reporter: Reporter) -> CheckResult | None:
        """Run the sample through the deepfake models."""
        from dadfi_fast.deepfakes.registry import load_attributes, load_judges

        if not len(self.sample):
            self.say("no protected photo to check")
            return None
        (models, encoders), classifier = load_judges(), load_attributes()
        with self.sample.local_copies() as (pairs, folder):
            watchers = reporter.begin(
                len(pairs),
                models=models,
                encoders=encoders,
                classifier=classifier,
                detector=self.parts.faces_by,
                folder=folder,
            )
            return self._checked(pairs, models, encoders, classifier, watchers, visibility=reporter.visibility)

    def _checked(
        self,
        pairs: Sequence[Pair],
        models: Sequence[DeepfakeModel],
        encoders: Sequence[EncoderModel],
        classifier: AttributeModel,
        watchers: Sequence[Callback],
        *,
        visibility: int,
    ) -> CheckResult:
        from dadfi_fast.check.result import check_files
        from dadfi_fast.cli.progress import show_progress

        with show_progress(len(pairs), "files checked", quiet=self.quiet) as progress:
            return check_files(
                pairs,
                models=models,
                encoders=encoders,
                classifier=classifier,
                detector=self.parts.chosen_detector[0],
                watchers=watchers,
                visibility=visibility,
                tick=progress.advance,
            )

    def report(self, summary: Summary, verdict: CheckResult | None, *, as_json: bool) -> None:
        """The result, on stdout."""
        if as_json:
            document = {**summary.to_dict(), "out": self.config.out, "config": self.config.fingerprint}
            numbers = {"batch": self.config.crops_a_batch, "workers": self.config.threads}
            document |= {"settings": numbers if self.pool is None else None}
            console.json({**document, "check": verdict and verdict.to_dict()})
            return
        if verdict is not None:
            show_figures(verdict)
            console.result(self._trained_against(verdict) + "\n")
        messages.show(summary, verbose=self.verbose)
        for source, error in summary.failures:
            console.error(f"{source}: {error}")

    def _trained_against(self, verdict: CheckResult) -> str:
        """Which of the models of the check the generator has seen in training: the others show what carries over."""
        from dadfi_fast.backends.generator_file import generator_card

        seen = {target["name"] for target in generator_card(str(self.generator_file.onnx)).extra.get("targets", ())}
        known, others = (
            [m for m in (*verdict.models, *verdict.encoders) if (m in seen) == kind] for kind in (True, False)
        )
        carries = (
            f"; it was not trained against {', '.join(others)}, so these show how well protection transfers"
            if others
            else ""
        )
        said = f"{self.generator_file.name} was trained against {', '.join(known) or 'none of them'}{carries}"
        return f"{said}; {refined(self.config.refined)}" if self.config.refined else said

    @property
    def _known(self) -> Facts:
        """The facts by which is known what is done, whatever runs."""
        from dadfi_fast.protect.manifest import Facts

        return Facts(self.config.fingerprint, self.generator_file.sha256, "")

    def _count(self) -> int | None:
        """How many inputs there are: a walk over names, which takes a small part of a run's time."""
        from dadfi_fast.protect.discover import discover

        if self.quiet:
            return None
        return sum(1 for _ in discover(self.config.sources, self.config.out, form=self.config.format))


def _which(watched: tuple[Watcher, int] | None) -> tuple[Callable[[Entry | Failed], bool], bool]:
    """Which inputs a run takes, and whether it replaces results whose inputs have changed: in a watched folder."""
    return (watched[0].is_ready, True) if watched else (lambda _: True, False)
