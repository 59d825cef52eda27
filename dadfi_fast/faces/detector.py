"""What finds faces: the base class with the passes from coarse to fine, and the table of detectors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final, final

import numpy as np

from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.faces.shrink import Pyramid
from dadfi_fast.registry import Registry, lazy
from dadfi_fast.types import Face, UInt8

#: Coarse to fine: the longer side, in pixels, of the copy that is searched, and the share of it above which a face
#: makes the picture a portrait, so that this pass has seen all that matters. Where a face is smaller, still smaller
#: ones may hide, and a finer pass follows. The first pass costs a quarter of the second; on 574 pictures of faces it
#: found every one that the second did (docs/decisions/0006-detection.md).
PASSES: Final = ((160, 0.35), (320, 0.15), (640, 0.15), (1280, 0.0))
#: A picture whose faces all take this share of its longer side is a portrait.
PORTRAIT: Final = 0.35
#: Shares of the picture's size at which a face of 40 px is found: it has 24 px then, of which the network needs 21.
FINE: Final = 0.6
#: Pixels of the copy that is searched at once; a finer one is cut into tiles of `TILE` pixels, which overlap by as much
#: as the largest face that the last pass may have missed (`SURE` pixels there), with some play.
WHOLE: Final = PASSES[-1][0]
TILE: Final = 960
SURE: Final = 24
_PLAY: Final = 1.25
#: A small box of which so much lies in a larger face is a part of that face.
_INSIDE: Final = 0.8
#: Detections below this are dropped.
CONFIDENCE = 0.6
#: Two boxes that share more than this of their union are one face.
SAME = 0.3
#: A picture with a shorter side has no face that could be found.
SMALLEST = 12


class Detector(ABC):
    """Finds the faces in a picture; the network sees shrunk copies, never enlarged ones. Safe to call from threads."""

    name: ClassVar[str]
    #: Whether faces of 40 px are looked for where the passes would not see them: ``auto`` in all pictures but
    #: portraits, those in which every face is large (`PORTRAIT`); ``always``; ``never``.
    small_faces: str = "auto"

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
        return self.search(height, width, Pyramid(pixels))

    def search(self, height: int, width: int, small: Callable[[int, int], UInt8]) -> list[Face]:
        """The same for a picture of this size that lies elsewhere: ``small(width, height)`` is a copy of it, shrunk."""
        if min(height, width) < SMALLEST:
            return []
        faces: list[Face] = []
        longer = max(height, width)
        for side, portrait in PASSES:
            faces = distinct(faces + self._at(height, width, small, min(side, longer)))
            if side >= longer or (faces and _smallest(faces) >= portrait * longer):
                break
        return self.with_small_ones(height, width, small, faces, side)

    def with_small_ones(
        self, height: int, width: int, small: Callable[[int, int], UInt8], faces: list[Face], side: int
    ) -> list[Face]:
        """``faces``, found in copies of up to ``side`` pixels, and the smaller ones, if `small_faces` asks for them."""
        if side >= FINE * max(height, width) or not self._wants_small(faces, max(height, width)):
            return faces
        return self._finer(height, width, small, faces, side)

    def faces_from(self, faces: Sequence[Face], height: int, width: int) -> int | None:
        """The size in pixels from which on faces were looked for in a picture in which ``faces`` were found.

        Smaller ones may have been missed. None where faces are not looked for.
        """
        longer = max(height, width)
        if self._wants_small(faces, longer):
            return math.ceil(SURE / FINE)
        ended = (side for side, share in PASSES if not share or (faces and _smallest(faces) >= share * longer))
        return math.ceil(SURE * max(1.0, longer / next(ended)))

    def _wants_small(self, faces: Sequence[Face], longer: int) -> bool:
        if self.small_faces == "auto":
            return not faces or _smallest(faces) < PORTRAIT * longer
        return self.small_faces == "always"

    def _finer(
        self, height: int, width: int, small: Callable[[int, int], UInt8], faces: list[Face], side: int
    ) -> list[Face]:
        """What a copy of `FINE` of the size shows beside what is found: whole, or in tiles."""
        longer = max(height, width)
        target = math.ceil(FINE * longer)
        if target <= WHOLE:
            return distinct(faces + self._at(height, width, small, target))
        if side < WHOLE:
            faces = distinct(faces + self._at(height, width, small, WHOLE))
        overlap = math.ceil(_PLAY * SURE * target / WHOLE)
        tiled = [each for each in self._in_tiles(height, width, small, overlap) if not _is_part(each, faces)]
        return distinct(faces + tiled)

    def _in_tiles(self, height: int, width: int, small: Callable[[int, int], UInt8], overlap: int) -> Iterator[Face]:
        """The faces in the tiles of a copy; those that are too large for the overlap may be parts, and are left out."""
        small_width, small_height = (math.ceil(FINE * n) for n in (width, height))
        copy, x, y = small(small_width, small_height), width / small_width, height / small_height
        for top in _starts(small_height, overlap):
            for left in _starts(small_width, overlap):
                for face in self.find(np.ascontiguousarray(copy[top : top + TILE, left : left + TILE])):
                    if max(face.width, face.height) <= overlap:
                        x0, x1 = (min(max((n + left) * x, 0.0), width) for n in (face.x0, face.x1))
                        y0, y1 = (min(max((n + top) * y, 0.0), height) for n in (face.y0, face.y1))
                        if x1 - x0 >= 1 and y1 - y0 >= 1:
                            yield Face(x0, y0, x1, y1, face.score)

    @final
    def _at(self, height: int, width: int, small: Callable[[int, int], UInt8], side: int) -> list[Face]:
        scale = side / max(height, width)
        small_width, small_height = (max(SMALLEST, round(n * scale)) for n in (width, height))
        copy = small(small_width, small_height)
        x, y = width / small_width, height / small_height
        boxes = (Face(f.x0 * x, f.y0 * y, f.x1 * x, f.y1 * y, f.score) for f in self.find(copy))
        inside = (Face(max(f.x0, 0.0), max(f.y0, 0.0), min(f.x1, width), min(f.y1, height), f.score) for f in boxes)
        return [face for face in inside if face.width >= 1 and face.height >= 1]


def _starts(length: int, overlap: int) -> list[int]:
    """Where tiles begin that cover ``length`` pixels, evenly spread."""
    if length <= TILE:
        return [0]
    count = math.ceil((length - overlap) / (TILE - overlap))
    return [round(n * (length - TILE) / (count - 1)) for n in range(count)]


def _is_part(face: Face, larger: Sequence[Face]) -> bool:
    """Whether a box lies in one of several times its size: eyes and a mouth in a tile look like a face."""
    return any(_shared(face, each) > _INSIDE * _area(face) and _area(each) > 4 * _area(face) for each in larger)


def _area(face: Face) -> float:
    return face.width * face.height


def _smallest(faces: Sequence[Face]) -> float:
    return min(max(face.width, face.height) for face in faces)


def distinct(faces: Sequence[Face]) -> list[Face]:
    """The best of every set of boxes that overlap, best first."""
    unique: list[Face] = []
    for face in sorted(faces, key=lambda f: f.score, reverse=True):
        if all(_overlap(face, other) <= SAME for other in unique):
            unique.append(face)
    return unique


def _overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes."""
    shared = _shared(a, b)
    return shared / (_area(a) + _area(b) - shared) if shared else 0.0


def _shared(a: Face, b: Face) -> float:
    """The area that two boxes have in common."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return width * height if width > 0 and height > 0 else 0.0


#: Name -> what imports the detector. In the order in which ``auto`` tries them.
DETECTORS: Registry[Callable[[], type[Detector]]] = Registry("detector")


DETECTORS.add("libfacedetection")(lazy("dadfi_fast.faces.libfacedetection", "LibFaceDetection"))
DETECTORS.add("yunet")(lazy("dadfi_fast.faces.yunet", "YuNet"))
DETECTORS.add("none")(lazy("dadfi_fast.faces.none", "Whole"))


def choose_detector(
    name: str = "auto", *, model: Path | None = None, small_faces: str = "auto"
) -> tuple[Detector, str]:
    """The detector to use and the reason, for people.

    Args:
        name: a name of `DETECTORS`, or ``auto``: YuNet where its file is given, else libfacedetection.
        model: the ONNX file of YuNet.
        small_faces: as `Detector.small_faces`.

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
    make: Callable[..., Detector] = kind  # type: ignore[explicit-any]  # only one takes a file
    detector = make(model) if chosen == "yunet" else make()
    detector.small_faces = small_faces
    reason = "named by the user" if name != "auto" else "its file is given" if model else "comes with the installation"
    runner = getattr(detector, "runner", None)
    return detector, f"{reason}, run by {runner}" if runner else reason
