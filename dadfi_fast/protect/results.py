"""Inputs and outcomes: one `Entry` per input file, and exactly one outcome per entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from dadfi_fast.metrics.visibility import FaceAppearance
from dadfi_fast.storage.paths import AnyPath
from dadfi_fast.types import Face

#: The manifest's ``reason`` for files that are not images, and the text that earlier versions wrote.
NO_PICTURE: Final = "not an image"
NO_PICTURE_BEFORE: Final = "no picture"


class Clock:
    """Seconds of work on one photo, summed over the stages; time in queues is not counted."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


@dataclass(frozen=True)
class Entry:
    """One input file."""

    source: AnyPath
    name: str  # its name in the manifest: relative to SOURCE, with forward slashes
    target: str  # output path: relative to the output folder, with forward slashes
    size: int  # bytes
    mtime_ns: int
    named: bool = False  # the user passed this very file, so it must be an image
    clock: Clock = field(default_factory=Clock, compare=False)
    earlier: str | None = None  # sha256 of the result of ours that is to be replaced: the file has changed since

    @property
    def path(self) -> Path:
        """The path of a file that is known to be on disk."""
        assert isinstance(self.source, Path), "this is for files on disks alone"
        return self.source


@dataclass(frozen=True)
class Quality:
    """A written file, decoded again and compared with its decoded source."""

    linf: int  # levels of 255
    psnr: float | None  # dB; None if the images are identical
    seen: FaceAppearance | None = None  # the most visible face, where that was measured


@dataclass(frozen=True)
class Written:
    """Protected and written."""

    entry: Entry
    target: str
    faces: tuple[Face, ...]
    linf: int  # levels, on the pixels handed to the encoder
    sha256_source: str
    sha256_target: str
    measured: Quality | None = None
    notes: tuple[str, ...] = ()  # remarks for the manifest, such as "only frame 1 of 12"
    faces_from: int | None = None  # pixels; smaller faces may have been missed
    weakened: bool = False  # whether subsampled colour loses much of the perturbation of a small face
    strength: float | None = None  # of the strongest perturbation, on the [-1, 1] scale; None: not known


@dataclass(frozen=True)
class Copied:
    """Not protected, because no face was found; copied to the output."""

    entry: Entry
    target: str
    reason: str
    sha256_source: str
    sha256_target: str
    notes: tuple[str, ...] = ()
    faces_from: int | None = None  # pixels; smaller faces may have been missed


@dataclass(frozen=True)
class Skipped:
    """Deliberately not written."""

    entry: Entry
    reason: str
    picture: bool = True  # False for a file that is not an image
    recorded: bool = False  # keep the existing manifest row of this input


@dataclass(frozen=True)
class Failed:
    """Not written because of an error in this photo."""

    entry: Entry
    stage: str
    error: Exception


@dataclass(frozen=True)
class Done:
    """Handled by an earlier run; its row is in the manifest."""

    entry: Entry
    status: str  # of that row
    target: str | None  # of that row


Outcome: TypeAlias = Written | Copied | Skipped | Failed | Done
#: An input that needs work, or the outcome of one that needs none.
Input: TypeAlias = Entry | Failed | Skipped | Done
OUTCOMES = (Written, Copied, Skipped, Failed, Done)
