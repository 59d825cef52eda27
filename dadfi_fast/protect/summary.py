"""What a run came to, in counts: memory does not grow with the folder."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

from dadfi_fast.images.decode import MAY_BE_LEFT
from dadfi_fast.images.tag import ALREADY
from dadfi_fast.protect.meter import Stage, bottleneck
from dadfi_fast.protect.results import Copied, Done, Failed, Outcome, Skipped, Written
from dadfi_fast.protect.resume import CHANGED
from dadfi_fast.protect.strength import UNBROKEN

#: Failures that are kept word for word; all of them stand in the manifest.
SHOWN: Final = 20


@dataclass
class Summary:
    """Counts of one run; `add` is called once an input."""

    written: int = 0
    copied: int = 0
    skipped: int = 0
    failed: int = 0
    done: int = 0  # by an earlier run
    other: int = 0  # files that are no pictures; counted among the skipped as well
    already: int = 0  # photos that carry the mark of a protected one; counted among the skipped as well
    changed: int = 0  # results of other settings or of another file; counted among the skipped as well
    unbroken: int = 0  # results with a face whose fakes no strength of ``--strength auto`` breaks
    weakened: int = 0  # results whose subsampled colour loses much of the perturbation of a small face
    faces: int = 0
    linf: int = 0  # the largest, in levels
    doubtful: int = 0  # results that may hold a preview of the original in metadata that nobody can read
    interrupted: bool = False
    failures: list[tuple[str, str]] = field(default_factory=list)  # the first `SHOWN`: source, "stage: message"
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    stages: list[Stage] = field(default_factory=list)  # at the end of the run
    notes: list[str] = field(default_factory=list)  # what else the user should know

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        if isinstance(outcome, Written):
            self.written += 1
            self.weakened += outcome.weakened
            self.unbroken += any(note.startswith(UNBROKEN) for note in outcome.notes)
            self.faces += len(outcome.faces)
            self.linf = max(self.linf, outcome.linf)
            self.doubtful += any(note.startswith(MAY_BE_LEFT) for note in outcome.notes)
        elif isinstance(outcome, Copied):
            self.copied += 1
        elif isinstance(outcome, Skipped):
            self.skipped += 1
            self.other += not outcome.picture
            self.already += outcome.reason == ALREADY
            self.changed += CHANGED in outcome.reason
        elif isinstance(outcome, Done):
            self.done += 1
        else:
            self._fail(outcome)
        self.seconds = time.monotonic() - self.started

    def absorb(self, other: Summary) -> None:
        """Add the counts of a later run; the stages are those of the later one."""
        for name in (
            "written", "copied", "skipped", "failed", "done", "other", "already", "changed", "weakened", "faces",
            "doubtful", "unbroken",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.linf, self.interrupted = max(self.linf, other.linf), other.interrupted
        self.seconds += other.seconds
        self.failures = [*self.failures, *other.failures][:SHOWN]
        self.stages = other.stages
        self.notes += other.notes

    @property
    def total(self) -> int:
        """All inputs."""
        return self.written + self.copied + self.skipped + self.failed + self.done

    @property
    def pictures(self) -> int:
        """Inputs that are pictures, or should be."""
        return self.total - self.other

    def to_dict(self) -> dict[str, Any]:
        """The summary as ``--json`` prints it."""
        names = (
            "written", "copied", "skipped", "failed", "done", "other", "already", "changed", "weakened", "faces",
            "linf", "doubtful", "unbroken", "interrupted",
        )  # fmt: skip
        return {
            "total": self.total,
            **{name: getattr(self, name) for name in names},
            "seconds": round(self.seconds, 3),
            "photos_per_second": round((self.written + self.copied) / self.seconds, 2) if self.seconds else None,
            "stages": {s.name: {"photos_per_second": round(s.rate, 2), "load": round(s.load, 4)} for s in self.stages},
            "bottleneck": bottleneck(self.stages),
            "failures": [{"source": source, "error": error} for source, error in self.failures],
        }

    def _fail(self, outcome: Failed) -> None:
        self.failed += 1
        if len(self.failures) < SHOWN:
            message = str(outcome.error) or type(outcome.error).__name__
            self.failures.append((outcome.entry.name, f"{outcome.stage}: {message}"))
