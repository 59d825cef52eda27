"""One call of ``protect``: what was chosen, and what it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dadfi_fast.cli import console, protect_show
from dadfi_fast.cli.report import Reporter
from dadfi_fast.errors import NothingToDo
from dadfi_fast.protect.config import ProtectConfig

if TYPE_CHECKING:
    from dadfi_fast.attacks.generator import GeneratorAttack
    from dadfi_fast.backends.artifact import Artifact
    from dadfi_fast.check.sample import Pair
    from dadfi_fast.check.verdict import Verdict
    from dadfi_fast.faces.detector import Detector
    from dadfi_fast.protect.manifest import Facts
    from dadfi_fast.protect.outcome import Outcome
    from dadfi_fast.protect.summary import Summary
    from dadfi_fast.protect.watch import Watcher


class Run:
    """One call of the command: what was chosen, and what it says to the user."""

    def __init__(
        self,
        config: ProtectConfig,
        detector: Detector,
        faces_by: str,
        generator: str,
        backend: str,
        device: str,
        *,
        quiet: bool,
        verbose: bool,
    ) -> None:
        from dadfi_fast.backends.artifact import load_artifact
        from dadfi_fast.backends.choice import choose

        self.config, self.detector, self.faces_by = config, detector, faces_by
        self.device = "cpu" if device == "auto" else device
        self.artifact: Artifact = load_artifact(generator)
        self.backend, self.why = choose(backend, device=self.device)
        self.say: Callable[[str], None] = (lambda _: None) if quiet else console.message
        self.quiet, self.verbose = quiet, verbose
        self.sample = Sample(0)
        self._attack: GeneratorAttack | None = None

    def plan(self, *, as_json: bool) -> None:
        """Say what would be done."""
        from dadfi_fast.protect.plan import plan

        rows = plan(self.config, self._facts(self.backend.name))
        if as_json:
            console.json({"plan": (found := list(rows)), "total": len(found)})
            return
        total = 0
        for row in rows:
            total += 1
            console.result(protect_show.planned(row))
        if not total:
            raise NothingToDo(f"there is no file in {', '.join(self.config.sources)}")

    def protect(self, *, samples: int, watched: tuple[Watcher, int] | None = None) -> Summary:
        """Do it; ``watched``: only what is ready, of which there are so many."""
        from dadfi_fast.protect.pipeline import meter_for, protect

        attack = self.ready()
        facts, meter = self._facts(attack.backend.describe), meter_for(self.config)
        self.sample = Sample(samples)
        total = watched[1] if watched else self._count()
        with console.progress(total, quiet=self.quiet, detail=lambda: protect_show.stages(meter.stages())) as progress:

            def tick(outcome: Outcome) -> None:
                progress.advance()
                self.sample.add(self.config.out, outcome)
                if self.verbose:
                    self.say(protect_show.line(outcome))

            only = {"only": watched[0].is_ready} if watched else {}
            return protect(
                self.config, detector=self.detector, attack=attack, facts=facts, tick=tick, meter=meter, **only
            )

    def ready(self) -> GeneratorAttack:
        """The generator, loaded at the first call, which says what runs."""
        from dadfi_fast.attacks.generator import GeneratorAttack
        from dadfi_fast.protect.memory import keep
        from dadfi_fast.types import Budget

        if self._attack is None:
            keep()
            running = self.backend(self.artifact, device=self.device, threads=self.config.generator_threads)
            self._attack = GeneratorAttack(running, Budget(self.config.strength))
            self.say(f"{self.artifact.name} on {self._facts(running.describe).backend}; faces by {self.faces_by}")
        return self._attack

    def check(self, reporter: Reporter) -> Verdict | None:
        """Run the sample through the deepfake models."""
        from dadfi_fast.check.verdict import check_files
        from dadfi_fast.deepfakes.registry import load_attributes, load_models

        pairs = self.sample.pairs
        if not pairs:
            self.say("no protected photo to check")
            return None
        models, classifier = load_models(), load_attributes()
        watchers = reporter.begin(
            len(pairs), models=models, classifier=classifier, detector=self.faces_by, folder=self.config.out
        )
        with console.progress(len(pairs), "files checked", quiet=self.quiet) as progress:
            return check_files(
                pairs,
                models=models,
                classifier=classifier,
                detector=self.detector,
                watchers=watchers,
                tick=progress.advance,
            )

    def report(self, summary: Summary, verdict: Verdict | None, *, as_json: bool) -> None:
        """The result, on stdout."""
        if as_json:
            found = {**summary.to_dict(), "out": self.config.out, "config": self.config.fingerprint}
            console.json({**found, "check": verdict and verdict.to_dict()})
            return
        if verdict is not None:
            console.table(verdict.COLUMNS, verdict.rows())
            console.result(verdict.sentence())
            console.result(self._trained_against(verdict) + "\n")
        protect_show.show(summary, verbose=self.verbose)
        for source, error in summary.failures:
            console.error(f"{source}: {error}")

    def _trained_against(self, verdict: Verdict) -> str:
        """Which of the models of the check the generator has seen in training: the others show what carries over."""
        from dadfi_fast.backends.artifact import generator_card

        seen = {target["name"] for target in generator_card(str(self.artifact.onnx)).extra.get("targets", ())}
        known, others = ([m for m in verdict.models if (m in seen) == kind] for kind in (True, False))
        carries = f"; what carries over to others: {', '.join(others)}" if others else ""
        return f"{self.artifact.name} was trained against {', '.join(known) or 'none of them'}{carries}"

    def _facts(self, backend: str) -> Facts:
        from dadfi_fast.protect.manifest import Facts

        return Facts(self.config.fingerprint, self.artifact.sha256, f"{backend}: {self.why}")

    def _count(self) -> int | None:
        """How many inputs there are: a walk over names, which takes a small part of a run's time."""
        from dadfi_fast.protect.find import find

        if self.quiet:
            return None
        return sum(1 for _ in find(self.config.sources, self.config.out, form=self.config.format))


class Sample:
    """Some of the protected files, spread evenly over a run of unknown length, and the same ones in the same run."""

    def __init__(self, size: int) -> None:
        import random

        self.pairs: list[Pair] = []
        self._size, self._seen, self._random = size, 0, random.Random(0)

    def add(self, out: Path, outcome: Outcome) -> None:
        """Take the file into the sample, or not (reservoir sampling; Vitter 1985, algorithm R)."""
        from dadfi_fast.check.sample import Pair
        from dadfi_fast.protect.outcome import Done, Written

        if not (isinstance(outcome, Written) or (isinstance(outcome, Done) and outcome.status == "written")):
            return
        target = outcome.target or ""
        pair = Pair(target, outcome.entry.source, out / target)
        self._seen += 1
        if len(self.pairs) < self._size:
            self.pairs.append(pair)
        elif (place := self._random.randrange(self._seen)) < self._size:
            self.pairs[place] = pair
