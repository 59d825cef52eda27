"""What a run was asked for, the sizes of the networks, and where things lie. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

FAMILIES: Final = ("stargan", "stgan", "stgan-sac", "stargan2")

#: Steps of each training in a rehearsal; else it is the time that ends them.
REHEARSED: Final = 4

_STGAN: Final[dict[str, Any]] = {"layers": 5, "critic_layers": 5}
_REHEARSAL: Final[dict[str, Any]] = {"batch": 4, "critic_dim": 4, "critic_layers": 3}
#: Settings that differ from the defaults, by preset and family. `fitted`: generators as wide as a file of 14 MiB holds
#: in float16, critics of the published width. `published`: everything of the published width; the files are larger.
#: `thin`: what two CPU cores train.
SIZES: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "fitted": {
        "stargan": {"conv_dim": 56, "critic_dim": 64, "critic_layers": 6},
        "stgan": {"dim": 16, "critic_dim": 64, "critic_fc": 1024} | _STGAN,
        "stgan-sac": {"dim": 16, "critic_dim": 64, "critic_fc": 1024} | _STGAN,
        "stargan2": {"width": 32, "max_width": 192},
    },
    "published": {
        "stargan": {"conv_dim": 64, "critic_dim": 64, "critic_layers": 6},
        "stgan": {"dim": 64, "critic_dim": 64, "critic_fc": 1024} | _STGAN,
        "stgan-sac": {"dim": 64, "critic_dim": 64, "critic_fc": 1024} | _STGAN,
        "stargan2": {"width": 128, "max_width": 512, "mapping_width": 512},
    },
    "thin": {
        "stargan": {},
        "stgan": {"dim": 12, "critic_dim": 16} | _STGAN,
        "stgan-sac": {"dim": 12, "critic_dim": 16} | _STGAN,
        "stargan2": {},
    },
    "rehearsal": {
        "stargan": {"conv_dim": 4} | _REHEARSAL,
        "stgan": {"dim": 4, "layers": 3, "critic_fc": 8} | _REHEARSAL,
        "stgan-sac": {"dim": 4, "layers": 3, "critic_fc": 8} | _REHEARSAL,
        "stargan2": {"batch": 4, "width": 4, "max_width": 8, "mapping_width": 8},
    },
}


@dataclass(frozen=True)
class Plan:
    """What all phases need to know; it lies in ``out/plan.json`` while the run lasts."""

    out: Path
    work: Path
    data: Path
    start: Path | None
    device: str
    sizes: str
    image_size: int
    recipe: str
    seed: int
    rehearse: bool
    grace: float  # seconds
    commit: str

    @property
    def on_gpu(self) -> bool:
        """Whether this is the real thing."""
        return self.device.startswith("cuda")

    def folder(self, family: str) -> Path:
        """Where the training of ``family`` is put away; another one for other sizes and another start."""
        start = f"-from-{self.start.name}" if self.start else ""
        return self.work / f"{family}-{self.sizes}-{self.image_size}{start}"

    def write(self) -> None:
        """Write it down for the phases."""
        values = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        (self.out / "plan.json").write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def read(cls, out: Path) -> Plan:
        """The plan of the run that writes to ``out``."""
        values = json.loads((out / "plan.json").read_text(encoding="utf-8"))
        paths = ("out", "work", "data", "start")
        return cls(**{key: Path(value) if key in paths and value else value for key, value in values.items()})
