"""What comes in, and what becomes of it: an `Entry` for every input, and exactly one outcome for every entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from dadfi_fast.storage.paths import AnyPath
from dadfi_fast.types import Face

#: The reason in the manifest of a file that is not an image, and the reason that earlier versions wrote.
NO_PICTURE: Final = "not an image"
NO_PICTURE_BEFORE: Final = "no picture"


class Clock:
    """Seconds of work spent on one photo, added up over the stages; waiting in queues does not count."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


@dataclass(frozen=True)
class Entry:
    """One input file."""

    source: AnyPath
    name: str  # as the manifest calls it: relative to the folder that was given, with forward slashes
    target: str  # where it will be written: relative to the output folder, with forward slashes
    size: int  # bytes
    mtime_ns: int
    named: bool = False  # the user named this very file, so it must be a picture
    clock: Clock = field(default_factory=Clock, compare=False)

    @property
    def path(self) -> Path:
        """The file, where it is known to be on a disk."""
        assert isinstance(self.source, Path), "this is for files on disks alone"
        return self.source


@dataclass(frozen=True)
class Quality:
    """A written file, decoded again, against its decoded source."""

    linf: int  # levels of 255
    psnr: float | None  # dB; None where nothing differs


@dataclass(frozen=True)
class Written:
    """Protected, and on disk."""

    entry: Entry
    target: str
    faces: tuple[Face, ...]
    linf: int  # levels, on the pixels handed to the encoder
    sha256_source: str
    sha256_target: str
    measured: Quality | None = None
    notes: tuple[str, ...] = ()  # what else became of it: "only frame 1 of 12"


@dataclass(frozen=True)
class Copied:
    """Not protected, as there is no face in it; on disk all the same."""

    entry: Entry
    target: str
    reason: str
    sha256_source: str
    sha256_target: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """Nothing was written, on purpose."""

    entry: Entry
    reason: str
    picture: bool = True  # False for a file that is not an image
    recorded: bool = False  # the manifest has a row about this input that is to stay


@dataclass(frozen=True)
class Failed:
    """Nothing was written, because of a fault in this photo."""

    entry: Entry
    stage: str
    error: Exception


@dataclass(frozen=True)
class Done:
    """An earlier run has dealt with it; its row stands in the manifest."""

    entry: Entry
    status: str  # of that row
    target: str | None  # of that row


Outcome: TypeAlias = Written | Copied | Skipped | Failed | Done
OUTCOMES = (Written, Copied, Skipped, Failed, Done)
