"""Everything that a run of protect was asked for: made once at the door, checked, and with a fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dadfi_fast.device import cores
from dadfi_fast.errors import UsageError
from dadfi_fast.storage.paths import AnyPath

#: The weakest and the strongest perturbation, on the [-1, 1] scale.
STRENGTH: Final = (0.01, 0.1)
#: Whether faces of 40 px are looked for where the coarse passes would not see them; ``auto``: in all but portraits.
SMALL_FACES: Final = ("auto", "always", "never")
NO_FACE: Final = ("copy", "skip", "whole")
FORMATS: Final = ("keep", "jpeg", "png", "webp", "tiff")
ON_EXISTS: Final = ("skip", "overwrite", "rename", "fail")
ANIMATED: Final = ("refuse", "first")
TRAILER: Final = ("drop", "keep")
#: What ``--decoder`` takes. ``cpu`` is simplejpeg, Pillow and OpenCV, a photo a thread.
DECODERS: Final = ("auto", "cpu", "dali")


@dataclass(frozen=True, kw_only=True)
class ProtectConfig:
    """One run.

    Raises:
        UsageError: a value is out of its range; the message names the option.
    """

    sources: tuple[str, ...]  # files, folders, globs; paths or URLs
    out: AnyPath
    strength: float = 0.05  # largest change, on the [-1, 1] scale
    detector: str = "libfacedetection"  # which one was chosen; the object itself is handed to `protect`
    small_faces: str = "auto"  # see `faces.detector.Detector`
    no_face: str = "copy"
    format: str = "keep"
    quality: int | None = None  # 1 to 100; None keeps a JPEG's tables and picks a high quality elsewhere
    strip_gps: bool = False
    animated: str = "refuse"  # pictures with several frames or pages
    trailer: str = "drop"  # what phones put behind a JPEG: a film, a depth map, further pictures
    times: bool = True  # results have the time and the permissions of their sources
    mark: bool = True  # protected photos say so in their metadata
    again: bool = False  # photos with that mark are protected once more
    on_exists: str = "skip"
    max_pixels: int = 200_000_000
    verify: float = 0.05  # share of the written files that are decoded again and measured
    batch: int | None = None  # face crops a call of the generator; None picks
    workers: int | None = None  # threads that decode and encode; None picks
    decoder: str = "cpu"  # or dali; see `dadfi_fast.protect.gpu.decoder`
    device: str = "cpu"  # where the generator runs, and photos are decoded for it

    def __post_init__(self) -> None:
        _one_of("--small-faces", self.small_faces, SMALL_FACES)
        _one_of("--no-face", self.no_face, NO_FACE)
        _one_of("--format", self.format, FORMATS)
        _one_of("--on-exists", self.on_exists, ON_EXISTS)
        _one_of("--animated", self.animated, ANIMATED)
        _one_of("--trailer", self.trailer, TRAILER)
        _one_of("--decoder", self.decoder, DECODERS[1:])
        if self.strip_gps and self.trailer == "keep":
            raise UsageError(
                "--trailer keep and --strip-gps cannot be combined: phones also write the location into the video"
            )
        _between("--strength", self.strength, *STRENGTH)
        _between("--verify", self.verify, 0, 1)
        _between("--quality", 100 if self.quality is None else self.quality, 1, 100)
        for option, value in (("--max-pixels", self.max_pixels), ("--batch", self.batch), ("--workers", self.workers)):
            _between(option, 1 if value is None else value, 1, float("inf"))

    @property
    def folder(self) -> Path:
        """The output folder, where it is known to be on a disk."""
        assert isinstance(self.out, Path), "this is for output folders on disks alone"
        return self.out

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when, and only when, the written files would be others."""
        names = ("strength", "detector", "no_face", "format", "quality", "strip_gps")
        facts = {name: getattr(self, name) for name in names}
        # Younger options count where they are used: a run with a new version goes on where an old one stopped.
        younger = {"animated": "refuse", "trailer": "drop", "mark": True, "small_faces": "auto"}
        facts |= {name: getattr(self, name) for name, usual in younger.items() if getattr(self, name) != usual}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def crops_a_batch(self) -> int:
        """On a CPU four cost no more than eight, and hold fewer photos in memory."""
        return self.batch or 4

    @property
    def threads(self) -> int:
        """Threads for decoding and encoding, beside the one that runs the generator."""
        return self.workers or cores()

    @property
    def generator_calls(self) -> int:
        """Calls of the generator side by side: on a GPU one batch is copied there or back while another one runs."""
        return 1 if self.device == "cpu" else 2

    @property
    def generator_threads(self) -> int:
        """Decoding and encoding take four times as long as the generator does, and run beside it."""
        return max(1, cores() // 4)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"unknown {option} {value}. Available: {', '.join(known)}")


def _between(option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{option} {value:g} is out of range. Choose a value from {low:g} to {high:g}")
