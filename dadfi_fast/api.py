"""The library: protect arrays and files from Python. ``from dadfi_fast import Protector, check``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dadfi_fast.attacks.base import Refinement, Refiner
from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.generator_file import DEFAULT, GeneratorFile
from dadfi_fast.deepfakes.registry import encoder_cards, target_cards
from dadfi_fast.device import cores
from dadfi_fast.errors import UsageError
from dadfi_fast.faces.detector import Detector
from dadfi_fast.faces.shrink import Pyramid
from dadfi_fast.protect.assembly import Assembly
from dadfi_fast.protect.blend import blend
from dadfi_fast.protect.config import AUTO, DEFAULT_STRENGTH, ProtectConfig, Strength, generator_threads, strength_of
from dadfi_fast.protect.crop import crops, squares
from dadfi_fast.protect.gpu.decoder import choose_decoder
from dadfi_fast.protect.malloc import tune_malloc
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.pipeline import protect
from dadfi_fast.protect.results import Entry, Failed, Outcome
from dadfi_fast.protect.strength import Judges, judge_cards
from dadfi_fast.protect.summary import Summary
from dadfi_fast.storage.paths import parse_path
from dadfi_fast.training.refinement import load_refiner, need_packages
from dadfi_fast.types import Budget, Encoding, Face, Photo, UInt8

#: A file, folder, glob or URL.
Source = str | os.PathLike[str]
#: Face crops per call of the generator in `Protector.image`.
_BATCH = 8


@dataclass(frozen=True, eq=False)
class ProtectedImage:
    """A protected picture."""

    pixels: UInt8  # [H, W, 3] RGB
    faces: tuple[Face, ...]  # the faces that were found, best first; empty: the picture is unchanged
    linf: int  # largest change of a value, in levels of 0-255
    strength: float | None = None  # of the strongest perturbation; None without a face


def refiner_of(config: ProtectConfig) -> Refiner | None:
    """What refines perturbations in a run with ``config``; None where nothing does.

    Raises:
        DadfiError: as `dadfi_fast.training.refinement.load_refiner` does.
    """
    if not config.refine:
        return None
    refinement = Refinement(
        steps=config.refine, look=config.refine_look, seed=config.seed, strength=config.generated,
        device=config.device, models=config.refine_against,
    )  # fmt: skip
    return load_refiner(refinement)


class Protector:
    """Protects pictures; loads the generator and the face detector once, when they are first needed.

    Args:
        generator: its name, or the path of an ONNX file with its card beside it.
        strength: largest change on the [-1, 1] scale, 0.01 to 0.1; 0.05 is 6.4 levels of 0-255. ``subtle`` is 0.05,
            ``strong`` 0.07. ``auto``: for each face the weakest that breaks its fakes (`dadfi_fast.protect.strength`).
        backend: what runs the generator: ``openvino``, ``onnxruntime``, ``torch``, ``tensorrt``, ``tensorrt-rtx``;
            ``auto`` takes the first of them that can run on the device.
        device: ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is a GPU that the backend can use, else the CPU.
        detector: ``libfacedetection``, ``yunet``, ``none`` (the whole picture is one face), ``auto``, or a `Detector`.
        detector_model: the ONNX file of YuNet.
        small_faces: ``auto``, ``always`` or ``never``: whether faces from 40 pixels on are searched for in tiles.

    Raises:
        UsageError: the strength is out of range, or there is no such generator, backend or detector.
        BackendMissing: the backend or the detector cannot run on this machine; the message says what to install.
        WeightsError: the generator's file is missing or damaged.
    """

    def __init__(
        self,
        generator: str | GeneratorFile = DEFAULT,
        strength: Strength = DEFAULT_STRENGTH,
        backend: str = "auto",
        device: str = "auto",
        detector: str | Detector = "auto",
        *,
        detector_model: str | os.PathLike[str] | None = None,
        small_faces: str = "auto",
    ) -> None:
        model = None if detector_model is None else Path(detector_model)
        self.strength = strength_of(strength)
        self.parts = Assembly(
            generator=generator, backend=backend, device=device, detector=detector, detector_model=model,
            small_faces=small_faces,
        )  # fmt: skip

    @cached_property
    def attack(self) -> GeneratorAttack:
        """The generator on some of the cores, since the other stages of a run work beside it."""
        return self.parts.attack(self._generated, threads=generator_threads(cores()))

    @cached_property
    def _attack_alone(self) -> GeneratorAttack:
        return self.parts.attack(self._generated)

    @property
    def _generated(self) -> float:
        return DEFAULT_STRENGTH if isinstance(self.strength, str) else self.strength

    @cached_property
    def _judges(self) -> Judges:
        return self.parts.judges()

    def image(self, array: UInt8) -> ProtectedImage:
        """Protect one picture in memory; a picture without a face comes back unchanged.

        Args:
            array: uint8 [H, W, 3], RGB; it is not changed.

        Raises:
            UsageError: the array is no such picture.
        """
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            shape = f"{array.dtype} {list(array.shape)}"
            raise UsageError(f"cannot protect this array: it is {shape}. Pass uint8 [H, W, 3], RGB.")
        pixels = np.array(array, order="C")  # a copy: perturbations are blended in place
        pyramid, (height, width) = Pyramid(pixels), pixels.shape[:2]
        faces = self.parts.chosen_detector[0].search(height, width, pyramid)
        if not faces:
            return ProtectedImage(pixels, (), 0)
        where = squares(faces)
        attack = self._attack_alone
        cut = crops(pyramid, where, size=attack.crop_size)
        deltas = np.concatenate([attack(cut[at : at + _BATCH]) for at in range(0, len(cut), _BATCH)])
        photo, budget = Photo(Path("array"), pixels, Encoding("PNG", "RGB")), attack.budget
        if self.strength == AUTO:
            chosen = self._judges.scale(photo, faces, where, deltas, base=budget.eps)
            deltas, budget = chosen.deltas, Budget(max(chosen.strengths))
        protected = blend(photo, faces, where, deltas, budget)
        return ProtectedImage(protected.pixels, protected.faces, protected.linf, budget.eps)

    def files(
        self,
        sources: Source | Iterable[Source],
        out: Source,
        *,
        on_outcome: Callable[[Outcome], object] = lambda _: None,
        **options: Any,
    ) -> Summary:
        """Protect files as ``dadfi-fast protect`` does, in this process and without its check of a sample.

        Args:
            sources: files, folders (with all that is in them), globs or URLs.
            out: folder or URL of the results, which mirrors the tree of the sources.
            on_outcome: called with the outcome of every input, in the order of the inputs.
            options: fields of `dadfi_fast.protect.config.ProtectConfig`, such as ``on_exists="overwrite"``.

        Raises:
            UsageError: an option is out of its range, or a source does not exist or lies in ``out``.
            NothingToDo: a glob matches nothing.
            DiskError: ``out`` cannot be written to; what has been written is kept.
        """
        tune_malloc()
        config = self.config(sources, out, **options)
        return self.run(config, tick=on_outcome)

    def config(self, sources: Source | Iterable[Source], out: Source, **options: Any) -> ProtectConfig:
        """The configuration of a run with these parts; arguments and errors are those of `files`."""
        device, _ = self.parts.chosen_device
        decoder, _ = choose_decoder(options.pop("decoder", "cpu" if options.get("refine") else "auto"), device=device)
        if options.pop("small_faces", self.parts.small_faces) != self.parts.small_faces:
            raise UsageError("cannot change small_faces for one run. Pass it to Protector, which loads the detector.")
        if options.get("refine"):
            need_packages()
            options["refine_against"] = self._refined_against(options.get("refine_models") or "")
        given = [sources] if isinstance(sources, str | os.PathLike) else sources
        return ProtectConfig(
            sources=tuple(os.fspath(source) for source in given),
            out=parse_path(os.fspath(out)),
            strength=self.strength,
            judges=tuple(card.sha256 for card in self.parts.judge_cards) if self.strength == AUTO else (),
            detector=self.parts.chosen_detector[0].name,
            small_faces=self.parts.small_faces,
            decoder=decoder,
            device=device,
            **options,
        )

    def _refined_against(self, listed: str) -> tuple[tuple[str, str], ...]:
        """Name and hash of the models ``listed``; where none is, of those of ``--strength auto`` and all encoders."""
        known, names = target_cards(), [name.strip() for name in listed.split(",") if name.strip()]
        cards = [known[name] for name in dict.fromkeys(names)]
        if not cards:
            cards = [*judge_cards(self.parts.generator_file, option="--refine", otherwise="Pass --refine-models")]
            encoders = encoder_cards()
            cards += [encoders[name] for name in encoders]
        return tuple((card.name, card.sha256) for card in cards)

    def run(
        self,
        config: ProtectConfig,
        *,
        tick: Callable[[Outcome], object] = lambda _: None,
        meter: Meter | None = None,
        only: Callable[[Entry | Failed], bool] = lambda _: True,
        renew: bool = False,
        say: Callable[[str], object] = lambda _: None,
    ) -> Summary:
        """Run what `config` describes; arguments and errors are those of `dadfi_fast.protect.pipeline.protect`."""
        self.attack.refiner = refiner_of(config)
        return protect(
            config,
            detector=self.parts.chosen_detector[0],
            attack=self.attack,
            facts=self.parts.facts(config, self.attack),
            tick=tick,
            meter=meter,
            only=only,
            renew=renew,
            say=say,
            judges=self._judges if config.judges else None,
        )
