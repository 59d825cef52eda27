"""A folder of photos, an attack and a detector that cost nothing, and a run of protect with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dadfi_fast.attacks.base import Attack
from dadfi_fast.faces.detector import Detector
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.manifest import NAME, Facts
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.pipeline import protect
from dadfi_fast.protect.strength import Judges
from dadfi_fast.protect.summary import Summary
from dadfi_fast.storage.paths import AnyPath
from dadfi_fast.types import Budget, Face, Float32, UInt8


class Stripes(Attack):
    """The whole budget, up and down, in stripes."""

    def run(self, crops: Float32) -> Float32:
        sign = np.where(np.arange(crops.shape[-1]) // 4 % 2, 1, -1)
        return np.broadcast_to((self.budget.eps * sign).astype(np.float32), crops.shape).copy()


class Boxes(Detector):
    """Finds the same boxes, given as shares of the picture, in every picture."""

    name = "boxes"

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.boxes = boxes

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        return None

    def find(self, pixels: UInt8) -> list[Face]:
        h, w = pixels.shape[:2]
        return [Face(x0 * w, y0 * h, x1 * w, y1 * h, 0.9) for x0, y0, x1, y1 in self.boxes]

    def search(self, height: int, width: int, small: Callable[[int, int], UInt8]) -> list[Face]:
        return self.find(np.empty((height, width, 0), np.uint8))


MIDDLE = Boxes((0.3, 0.3, 0.7, 0.7))


@pytest.fixture
def photos(tmp_path: Path, encoded: Callable[..., bytes]) -> Callable[..., Path]:
    """Makes the folder ``in`` with the files given as name -> content; None stands for a small JPEG."""

    def fill(files: dict[str, bytes | None]) -> Path:
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded() if content is None else content)
        return folder

    return fill


Run = Callable[..., tuple[Summary, dict[str, dict[str, Any]]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Protects ``in`` into ``out``; gives the summary and the manifest's rows by source."""

    def go(
        *sources: AnyPath,
        out: AnyPath | None = None,
        detector: Detector = MIDDLE,
        attack: Attack | None = None,
        generator: str = "toy",
        only: Callable[[Any], bool] = lambda _: True,
        meter: Meter | None = None,
        renew: bool = False,
        judged_by: Judges | None = None,
        **options: Any,
    ) -> tuple[Summary, dict[str, dict[str, Any]]]:
        named = tuple(str(source) for source in sources or (tmp_path / "in",))
        options.setdefault("workers", 2)
        config = ProtectConfig(sources=named, out=out or tmp_path / "out", detector=detector.name, **options)
        method = attack or Stripes(Budget(config.generated))
        facts = Facts(config.fingerprint, generator, "toy: for tests")
        summary = protect(
            config, detector=detector, attack=method, facts=facts, only=only, renew=renew, meter=meter, judges=judged_by
        )  # fmt: skip
        return summary, {row["source"]: row for row in rows(config.out)}

    return go


def rows(out: AnyPath) -> list[dict[str, Any]]:
    """The manifest's rows."""
    return [json.loads(line) for line in (out / NAME).read_bytes().splitlines()]


@pytest.fixture
def nobody() -> Detector:
    """Finds no face."""
    return Boxes()


@pytest.fixture
def stripes() -> Callable[..., Attack]:
    """Makes a `Stripes` attack that calls ``during(number of the call)`` in every call."""

    class Told(Stripes):
        def __init__(self, during: Callable[[int], object]) -> None:
            super().__init__(Budget())
            self.during, self.calls = during, 0

        def run(self, crops: Float32) -> Float32:
            self.calls += 1
            self.during(self.calls)
            return super().run(crops)

    return Told
