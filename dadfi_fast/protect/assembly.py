"""The parts of a run, chosen once for every command: generator, backend, device, strength and face detector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import DEFAULT, GeneratorFile, load_generator_file
from dadfi_fast.backends.registry import choose, choose_device
from dadfi_fast.faces.detector import Detector, choose_detector
from dadfi_fast.model_card import Card
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.strength import Judges, judge_cards
from dadfi_fast.types import Budget


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What a run consists of, by name; each part is looked up when it is first asked for.

    Args:
        generator: a name, ``FILE.onnx`` with its card beside it, or a file that is loaded already.
        backend: a name of `dadfi_fast.backends.registry.BACKENDS`; ``auto`` takes the first that runs on the device.
        device: ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is a GPU that the backend can use, else the CPU.
        detector: a name of `dadfi_fast.faces.detector.DETECTORS`, ``auto``, or a detector.
        detector_model: the ONNX file of YuNet.
        small_faces: ``auto``, ``always`` or ``never``: see `dadfi_fast.faces.detector.choose_detector`.
    """

    generator: str | GeneratorFile = DEFAULT
    backend: str = "auto"
    device: str = "auto"
    detector: str | Detector = "auto"
    detector_model: Path | None = None
    small_faces: str = "auto"

    @cached_property
    def generator_file(self) -> GeneratorFile:
        """The generator's files.

        Raises:
            UsageError: there is no such generator.
            WeightsError: its weights are missing or damaged.
        """
        return self.generator if isinstance(self.generator, GeneratorFile) else load_generator_file(self.generator)

    @cached_property
    def chosen_device(self) -> tuple[str, str]:
        """``cpu``, ``cuda`` or ``cuda:N``, and the reason."""
        return choose_device(self.backend, self.device)

    @cached_property
    def chosen_backend(self) -> tuple[type[Backend], str]:
        """The backend, and the reason.

        Raises:
            UsageError: there is no such backend.
            BackendMissing: the named one, or every one, cannot run on the device.
        """
        return choose(self.backend, device=self.chosen_device[0])

    @cached_property
    def chosen_detector(self) -> tuple[Detector, str]:
        """The face detector, and the reason.

        Raises:
            UsageError: there is no such detector, or it takes no model file.
            BackendMissing: it cannot run on this machine.
        """
        if isinstance(self.detector, Detector):
            return self.detector, "passed by the caller"
        return choose_detector(self.detector, model=self.detector_model, small_faces=self.small_faces)

    @property
    def faces_by(self) -> str:
        """The face detector and the reason, for people."""
        detector, reason = self.chosen_detector
        return f"{detector.name} ({reason})"

    def attack(self, strength: float = Budget().eps, *, threads: int | None = None) -> GeneratorAttack:
        """The generator, loaded by the backend.

        Args:
            strength: largest change, on the [-1, 1] scale.
            threads: CPU threads of one call; all cores if None.

        Raises:
            DadfiError: the generator or the backend cannot be had; see the properties.
        """
        backend, _ = self.chosen_backend
        running = backend(self.generator_file, device=self.chosen_device[0], threads=threads)
        return GeneratorAttack(running, Budget(strength))

    @cached_property
    def judge_cards(self) -> tuple[Card, ...]:
        """The deepfake models by which ``--strength auto`` chooses.

        Raises:
            UsageError: none that the generator may break is installed.
        """
        return judge_cards(self.generator_file)

    def judges(self, *, threads: int | None = None) -> Judges:
        """Those models, loaded, with so many CPU threads; all cores if None.

        Raises:
            UsageError: there is none.
            WeightsError: one of them is missing or damaged.
        """
        return Judges.load(self.judge_cards, threads=threads)

    def facts(self, config: ProtectConfig, attack: GeneratorAttack) -> Facts:
        """What the rows of a manifest say of a run with these parts.

        Args:
            config: of the run.
            attack: as `attack` made it.
        """
        backend = f"{attack.backend.describe}: {self.chosen_backend[1]}; {config.batch_and_workers}"
        return Facts(config.fingerprint, self.generator_file.sha256, backend, config.refined)
