"""What all timed runs share."""

from __future__ import annotations

from dataclasses import dataclass

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.bench.rows import package
from dadfi_fast.faces.detector import Detector
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.manifest import Facts


@dataclass(frozen=True, eq=False)
class BenchSetup:
    """A run of protect, set up."""

    config: ProtectConfig  # its output folder is the benchmark's own
    detector: Detector
    attack: GeneratorAttack

    @property
    def provider(self) -> str:
        """What does the work, as rows name it."""
        return self.attack.backend.describe

    @property
    def driver(self) -> str:
        """The library behind it, with its version."""
        return package(self.attack.backend.name)

    @property
    def facts(self) -> Facts:
        """What the manifest says of a run."""
        return Facts(self.config.fingerprint, self.attack.backend.generator_file.sha256, self.provider)
