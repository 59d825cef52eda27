"""What finds faces: the base class with the passes from coarse to fine, and the table of detectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final, final

from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.faces.shrink import shrinking
from dadfi_fast.registry import Registry, lazy
from dadfi_fast.types import Face, UInt8

#: Coarse to fine: the longer side, in pixels, of the copy that is searched, and the share of it above which a face
#: makes the picture a portrait, so that this pass has seen all that matters. Where a face is smaller, still smaller
#: ones may hide, and a finer pass follows. The first pass costs a quarter of the second; on 574 pictures of faces it
#: found every one that the second did (docs/decisions/0006-detection.md).
PASSES: Final = ((160, 0.35), (320, 0.15), (640, 0.15), (1280, 0.0))
#: Detections below this are dropped.
CONFIDENCE = 0.6
#: Two boxes that share more than this of their union are one face.
SAME = 0.3
#: A picture with a shorter side has no face that could be found.
SMALLEST = 12


class Detector(ABC):
    """Finds the faces in a picture; the network sees shrunk copies, never enlarged ones. Safe to call from threads."""

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def missing(cls, model: Path | None) -> str | None:
        """Why this detector cannot run here, and how to fix it; None if it can."""

    @abstractmethod
    def find(self, pixels: UInt8) -> list[Face]:
        """The faces in ``pixels`` [H, W, 3], searched at this very size; scores at least `CONFIDENCE`."""

    def __call__(self, pixels: UInt8) -> list[Face]:
        """The faces in a picture, best first.

        Args:
            pixels: [H, W, 3] RGB, any size.

        Returns:
            boxes in the picture's pixels and within it; empty where no face is found.
        """
        height, width = pixels.shape[:2]
        return self.search(height, width, shrinking(pixels))

    def search(self, height: int, width: int, small: Callable[[int, int], UInt8]) -> list[Face]:
        """The same for a picture of this size that lies elsewhere: ``small(width, height)`` is a copy of it, shrunk."""
        if min(height, width) < SMALLEST:
            return []
        found: list[Face] = []
        longer = max(height, width)
        for side, portrait in PASSES:
            found = distinct(found + self._at(height, width, small, min(side, longer)))
            if side >= longer or (found and _smallest(found) >= portrait * longer):
                break
        return found

    @final
    def _at(self, height: int, width: int, small: Callable[[int, int], UInt8], side: int) -> list[Face]:
        scale = side / max(height, width)
        small_width, small_height = (max(SMALLEST, round(n * scale)) for n in (width, height))
        copy = small(small_width, small_height)
        x, y = width / small_width, height / small_height
        boxes = (Face(f.x0 * x, f.y0 * y, f.x1 * x, f.y1 * y, f.score) for f in self.find(copy))
        inside = (Face(max(f.x0, 0.0), max(f.y0, 0.0), min(f.x1, width), min(f.y1, height), f.score) for f in boxes)
        return [face for face in inside if face.width >= 1 and face.height >= 1]


def _smallest(faces: Sequence[Face]) -> float:
    return min(max(face.width, face.height) for face in faces)


def distinct(faces: Sequence[Face]) -> list[Face]:
    """The best of every set of boxes that overlap, best first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: f.score, reverse=True):
        if all(_overlap(face, other) <= SAME for other in kept):
            kept.append(face)
    return kept


def _overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a.width * a.height + b.width * b.height - shared)


#: Name -> what imports the detector. In the order in which ``auto`` tries them.
DETECTORS: Registry[Callable[[], type[Detector]]] = Registry("detector")


DETECTORS.add("libfacedetection")(lazy("dadfi_fast.faces.libfacedetection", "LibFaceDetection"))
DETECTORS.add("yunet")(lazy("dadfi_fast.faces.yunet", "YuNet"))
DETECTORS.add("none")(lazy("dadfi_fast.faces.none", "Whole"))


def choose_detector(name: str = "auto", *, model: Path | None = None) -> tuple[Detector, str]:
    """The detector to use and the reason, for people.

    Args:
        name: a name of `DETECTORS`, or ``auto``: YuNet where its file is given, else libfacedetection.
        model: the ONNX file of YuNet.

    Raises:
        UsageError: there is no such detector, or ``model`` is given to one that takes none.
        BackendMissing: the detector cannot run here; the message says how to fix it.
    """
    chosen = name if name != "auto" else "yunet" if model else "libfacedetection"
    kind = DETECTORS[chosen]()
    if model is not None and chosen != "yunet":
        raise UsageError(f"--detector-model is for --detector yunet; {chosen} takes no file")
    if (why := kind.missing(model)) is not None:
        raise BackendMissing(f"detector {chosen} cannot run: {why}")
    made: Callable[..., Detector] = kind
    detector = made(model) if chosen == "yunet" else made()
    reason = "named by the user" if name != "auto" else "its file is given" if model else "comes with the installation"
    runner = getattr(detector, "runner", None)
    return detector, f"{reason}, run by {runner}" if runner else reason
