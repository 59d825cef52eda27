"""No detection: the whole image counts as one face. For folders of close-ups that are cropped already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from dadfi_fast.faces.align import whole
from dadfi_fast.faces.detector import Detector
from dadfi_fast.types import Face, UInt8


class Whole(Detector):
    """Every picture, of any size, has one face, and its crop covers the picture exactly."""

    name: ClassVar[str] = "none"

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        return None

    def find(self, pixels: UInt8) -> list[Face]:
        return [whole(*pixels.shape[:2])]

    def search(self, height: int, width: int, small: Callable[[int, int], UInt8]) -> list[Face]:
        """One face that stands for the whole picture; its box is smaller, its crop is the picture."""
        return [whole(height, width)]

    def faces_from(self, faces: Sequence[Face], height: int, width: int) -> int | None:
        return None
