"""Everything that a run of protect was asked for: made once at the door, checked, and with a fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, TypeAlias

from dadfi_fast.device import available_memory, cores
from dadfi_fast.errors import UsageError
from dadfi_fast.protect.option import CHANGED, REPORTED, RUN, WRITTEN, option
from dadfi_fast.storage.paths import AnyPath

#: The weakest and the strongest perturbation, on the [-1, 1] scale.
STRENGTH: Final = (0.01, 0.1)
#: The strength where nobody names one, and of faces whose fakes none of `SCALES` breaks.
DEFAULT_STRENGTH: Final = 0.05
#: A strength of its own for each face, which `dadfi_fast.protect.strength` chooses from `SCALES`.
AUTO: Final = "auto"
SCALES: Final = (0.03, 0.04, 0.05, 0.06, 0.07, 0.08)
#: Strengths with a name, each with its row of figures in docs/strength.md.
NAMED: Final = {"subtle": DEFAULT_STRENGTH, "strong": 0.07}
#: On the [-1, 1] scale, one of `NAMED`, or `AUTO`.
Strength: TypeAlias = float | Literal["subtle", "strong", "auto"]
#: Whether faces of 40 px are looked for where the coarse passes would not see them; ``auto``: in all but portraits.
SMALL_FACES: Final = ("auto", "always", "never")
NO_FACE: Final = ("copy", "skip", "whole")
FORMATS: Final = ("keep", "jpeg", "png", "webp", "tiff")
ON_EXISTS: Final = ("skip", "overwrite", "rename", "fail")
ANIMATED: Final = ("refuse", "first")
#: Side in photo pixels of a face crop below which subsampled colour loses much of the perturbation
#: (docs/measurements.md): in the blocks of a JPEG, and where all pixels are encoded anew.
SMALL_CROP: Final = 300
SMALL_CROP_ENCODED: Final = 640
#: ``auto``: all of it where a face is so small that half the resolution of colour would not hold its perturbation.
CHROMA: Final = ("keep", "auto", "full")
#: What ``--decoder`` takes. ``cpu`` is simplejpeg, Pillow and OpenCV, a photo a thread.
DECODERS: Final = ("auto", "cpu", "dali")
#: The JPEG qualities that ``--refine-look`` takes.
LOOKS: Final = (20, 95)
#: Face crops per call with --refine on a GPU.
_REFINED_AT_ONCE: Final = 16


@dataclass(frozen=True, kw_only=True)
class ProtectConfig:
    """One run.

    Raises:
        UsageError: a value is out of its range; the message names the option.
    """

    sources: tuple[str, ...]  # files, folders, globs; paths or URLs
    out: AnyPath = option(section=WRITTEN, metavar="DIR", help="Folder or URL to write the results to.")
    strength: Strength = option(
        DEFAULT_STRENGTH, section=CHANGED,
        help="Largest change of a pixel value on the [-1, 1] scale, from 0.01 to 0.1. subtle: "
        f"{NAMED['subtle']:g}. strong: {NAMED['strong']:g}, which breaks more and is easier to see. auto: for each "
        f"face the weakest of {', '.join(f'{scale:g}' for scale in SCALES)} that breaks the deepfake models the "
        "generator was trained against and those added with models add; takes longer (docs/strength.md).",
    )  # fmt: skip
    judges: tuple[str, ...] = ()  # sha256 of the deepfake models by which ``auto`` chooses
    refine: int = option(
        0, section=CHANGED, metavar="N", low=0,
        help="After the generator, improve the perturbation of each face by N white-box gradient steps against the "
        "deepfake models. Slow: seconds to minutes per face on a CPU. Needs the extra train; 0: off.",
    )  # fmt: skip
    refine_look: int = option(
        75, section=CHANGED, metavar="QUALITY", low=LOOKS[0], high=LOOKS[1],
        help="With --refine: how visible the change may become, as a JPEG quality (4:2:0), by FLIP and SSIMULACRA2.",
    )  # fmt: skip
    refine_models: str | None = option(
        None, section=CHANGED, metavar="NAME,...",
        help="With --refine: the models or encoders to refine against.  [default: those that the generator was trained "
        "against, and all that models add has added]",
    )  # fmt: skip
    seed: int = option(0, section=CHANGED, metavar="N", help="With --refine: the random seed.")
    refine_against: tuple[tuple[str, str], ...] = ()  # name and sha256 of the models that ``refine_models`` stands for
    detector: str = "libfacedetection"  # which one was chosen; the object itself is handed to `protect`
    small_faces: str = option(
        "auto", section=CHANGED, choices=SMALL_FACES,
        help="Look for faces down to 40 px, searching large photos in tiles. auto: unless every face takes up at least "
        "35 % of the photo's longer side.",
    )  # fmt: skip
    no_face: str = option(
        "copy", section=CHANGED, choices=NO_FACE,
        help="What to do with photos without a face: copy their bytes, skip them, or protect the whole image.",
    )  # fmt: skip
    format: str = option("keep", section=WRITTEN, choices=FORMATS, help="File format of the results.")
    quality: int | None = option(
        None, section=WRITTEN, metavar="N", shown="keep", form="quality",
        help="Quality of the results, 1 to 100. keep: a JPEG keeps its quantisation tables and chroma subsampling; "
        "other formats get a high quality.",
    )  # fmt: skip
    chroma: str = option(
        "keep", section=WRITTEN, choices=CHROMA,
        help="Resolution of colour in JPEG and HEIF results. keep: as in the source. full: not subsampled, which holds "
        "the perturbation of small faces; files grow by about a quarter. auto: full for photos with a face crop of "
        f"less than {SMALL_CROP} px ({SMALL_CROP_ENCODED} px if the whole picture is encoded anew), keep for others.",
    )  # fmt: skip
    strip_gps: bool = option(False, section=WRITTEN, help="Remove the location from the metadata.")
    animated: str = option(
        "refuse", section=CHANGED, choices=ANIMATED,
        help="What to do with files of several frames or pages: refuse them, or protect and write only the first.",
    )  # fmt: skip
    times: bool = option(
        True, section=WRITTEN, help="Give each result the modification time and the permissions of its source."
    )
    mark: bool = option(
        True,
        section=WRITTEN,
        help="Mark results as protected in their metadata (XMP), so that they are not protected twice.",
    )
    again: bool = option(
        False, section=CHANGED,
        help="Also protect photos that are already marked as protected, and retry photos that crashed earlier runs.",
    )  # fmt: skip
    on_exists: str = option(
        "skip", section=WRITTEN, choices=ON_EXISTS, help="What to do if the output file already exists."
    )
    max_pixels: int = option(200_000_000, section=RUN, metavar="N", help="Refuse images with more pixels.")
    max_memory: int | None = option(
        None, section=RUN, metavar="SIZE", shown="auto", form="size",
        help="Memory limit for photos in progress, such as 4G or 500M; a photo that needs more fails. auto: half of "
        "the free memory at startup.",
    )  # fmt: skip
    verify: float = option(
        0.05, section=REPORTED, metavar="SHARE", shown="5%", form="percentage",
        help="Share of the results to decode again and measure: all, a percentage, or none.",
    )  # fmt: skip
    visibility: int = option(
        0, section=REPORTED, metavar="N", low=0,
        help="Also measure how visible the protection is, on up to N of these (seconds per face). Needs the extra "
        "evaluate.",
    )  # fmt: skip
    batch: int | None = option(
        None, section=RUN, metavar="N", shown="auto", form="count or auto",
        help="Face crops per generator call. auto: 4.",
    )  # fmt: skip
    workers: int | None = option(
        None, section=RUN, metavar="N", shown="auto", form="count or auto", help="Worker threads. auto: one per core."
    )
    decoder: str = option(
        "cpu", section=RUN, choices=DECODERS, shown="auto",
        help="cpu: simplejpeg and Pillow. dali: JPEGs in batches with NVIDIA DALI on the --device. auto: dali on a "
        "GPU, otherwise cpu.",
    )  # fmt: skip
    device: str = "cpu"  # where the generator runs, and photos are decoded for it

    def __post_init__(self) -> None:
        _one_of("--small-faces", self.small_faces, SMALL_FACES)
        _one_of("--no-face", self.no_face, NO_FACE)
        _one_of("--format", self.format, FORMATS)
        _one_of("--on-exists", self.on_exists, ON_EXISTS)
        _one_of("--animated", self.animated, ANIMATED)
        _one_of("--chroma", self.chroma, CHROMA)
        _one_of("--decoder", self.decoder, DECODERS[1:])
        object.__setattr__(self, "strength", strength_of(self.strength))
        _between("--refine", self.refine, 0, float("inf"))
        _between("--visibility", self.visibility, 0, float("inf"))
        if self.visibility:
            from dadfi_fast.metrics import perceptual  # it loads Pillow, which --help can do without

            perceptual.need()
        _between("--refine-look", self.refine_look, *LOOKS)
        if self.refine and self.decoder == "dali":
            raise UsageError("--refine and --decoder dali cannot be combined. Remove --decoder.")
        if self.refine and self.strength == AUTO:
            raise UsageError("--refine and --strength auto cannot be combined: --refine-look bounds what is seen")
        if self.refine_models is not None and not self.refine:
            raise UsageError("--refine-models needs --refine N")
        if (self.strength == AUTO) != bool(self.judges):
            raise UsageError("deepfake models must be passed with --strength auto, and with no other strength")
        _between("--verify", self.verify, 0, 1)
        _between("--quality", 100 if self.quality is None else self.quality, 1, 100)
        least_one = (
            ("--max-pixels", self.max_pixels),
            ("--max-memory", self.max_memory),
            ("--batch", self.batch),
            ("--workers", self.workers),
        )
        for flag, value in least_one:
            _between(flag, 1 if value is None else value, 1, float("inf"))

    @property
    def folder(self) -> Path:
        """The output folder, where it is known to be on a disk."""
        assert isinstance(self.out, Path), "this is for output folders on disks alone"
        return self.out

    @cached_property
    def memory(self) -> int:
        """Bytes that photos under way may take together, and so each of them."""
        return self.max_memory or available_memory() // 2

    @property
    def generated(self) -> float:
        """The strength of what the generator puts out; ``auto`` scales it afterwards."""
        return DEFAULT_STRENGTH if isinstance(self.strength, str) else self.strength

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when, and only when, the written files would be others."""
        names = ("strength", "detector", "no_face", "format", "quality", "strip_gps")
        facts = {name: getattr(self, name) for name in names}
        # Younger options count where they are used: a run with a new version goes on where an old one stopped.
        younger = {"judges": (), "animated": "refuse", "mark": True, "small_faces": "auto", "chroma": "keep"}
        facts |= {name: getattr(self, name) for name, usual in younger.items() if getattr(self, name) != usual}
        facts |= {"refined": self.refined} if self.refined else {}
        facts |= {"scales": SCALES} if self.strength == AUTO else {}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def refined(self) -> dict[str, int | dict[str, str]] | None:
        """What the manifest says of ``--refine``: steps, look, seed, and the models' hashes; None where it is off."""
        if not self.refine:
            return None
        return {
            "steps": self.refine, "look": self.refine_look, "seed": self.seed, "models": dict(self.refine_against)
        }  # fmt: skip

    @property
    def crops_a_batch(self) -> int:
        """On a CPU four cost no more than eight, and hold fewer photos in memory; refining gains nothing from more."""
        if self.refine:
            return self.batch or (1 if self.device == "cpu" else _REFINED_AT_ONCE)
        return self.batch or 4

    @property
    def threads(self) -> int:
        """Threads for decoding and encoding, beside the one that runs the generator."""
        return self.workers or cores()

    @property
    def batch_and_workers(self) -> str:
        """How much is done at once, for people and for the manifest."""
        counts = ((self.crops_a_batch, "face"), (self.threads, "worker"))
        faces, workers = (f"{n} {word}{'s' * (n != 1)}" for n, word in counts)
        return f"{faces} a call, {workers}"

    @property
    def generator_calls(self) -> int:
        """Calls of the generator side by side: on a GPU one batch is copied there or back while another one runs."""
        return 1 if self.device == "cpu" else 2

    @property
    def generator_threads(self) -> int:
        """CPU threads of one call of the generator, where this process has the machine to itself."""
        return generator_threads(cores())


def strength_of(strength: float | str) -> float | Literal["auto"]:
    """The strength that was asked for: a number, or `AUTO`.

    Raises:
        UsageError: it is no number between the two of `STRENGTH`, none of `NAMED`, nor `AUTO`.
    """
    if strength == AUTO:
        return "auto"
    if isinstance(strength, str):
        if strength not in NAMED:
            raise UsageError(f"unknown --strength {strength!r}. Available: {', '.join((*NAMED, AUTO))}, or a number")
        return NAMED[strength]
    _between("--strength", strength, *STRENGTH)
    return strength


def generator_threads(threads: int) -> int:
    """Of so many threads, those of the generator: decoding and encoding take four times as long and run beside it."""
    return max(1, threads // 4)


def _one_of(flag: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"unknown {flag} {value}. Available: {', '.join(known)}")


def _between(flag: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{flag} {value:g} is out of range. Choose a value from {low:g} to {high:g}")
