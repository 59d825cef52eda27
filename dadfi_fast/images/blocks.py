"""A JPEG file as its blocks of DCT coefficients: read once, changed in place, and written again.

Decoding a photo and encoding it anew computes every pixel twice, although a perturbation changes only those of the
face. Here the entropy-coded data are decoded and encoded in one pass, and the steps in between (inverse and forward
DCT, colour conversion) are skipped: unchanged blocks keep exactly the coefficients of the file.

TurboJPEG does the work (``tj3Transform`` of libjpeg-turbo 3). It reads a file once for several transforms: the first
writes nothing and passes us the addresses of the coefficients, the second writes whatever they hold by then. In between
the library waits, on a thread of its own, which costs no CPU time.

Source: ITU-T T.81, annex A.3 (DCT and quantisation).
"""

from __future__ import annotations

import atexit
import ctypes
import ctypes.util
import functools
import importlib.util
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.decode import SIDEWAYS
from dadfi_fast.images.jpeg import DHT, JpegHeader, segments
from dadfi_fast.types import Float32, Int16

#: Samples a side of a block.
SIDE: Final = 8
#: Sample value that a coefficient of 0 stands for.
MIDDLE: Final = 128
#: Largest coefficient that a baseline file can hold, of either sign; the library writes nonsense for larger ones. DC
#: may also be -1024 (black, with a table of 1).
LARGEST: Final = 1023
_BITS: Final = 10
#: Seconds that the end of the interpreter waits for a file that is being read.
_PATIENCE: Final = 5.0
#: Frequencies that add less than this to a mean, beside DC, are left out of it.
_MUCH: Final = 0.25
#: Constants of turbojpeg.h: the kind of instance, parameters, options of a transform, colour spaces.
_TRANSFORM: Final = 2
_STOP_ON_WARNING, _COLOURS = 0, 8
_PERFECT, _NO_OUTPUT, _NO_MARKERS = 1, 1 << 4, 1 << 6
_YCBCR, _GREY = 1, 2
#: EXIF orientation -> what turns a picture upright, by its number in turbojpeg.h.
_TURNS: Final = {1: 0, 2: 1, 3: 6, 4: 2, 5: 3, 6: 5, 7: 4, 8: 7}


class _Region(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int))


#: Coefficients of a row of blocks, its place in the array and that array's in the component, component, transform.
_Filter: Final = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, _Region, _Region, ctypes.c_int, ctypes.c_int, ctypes.c_void_p
)


class _Transform(ctypes.Structure):
    _fields_ = (
        ("region", _Region), ("op", ctypes.c_int), ("options", ctypes.c_int), ("data", ctypes.c_void_p),
        ("filter", _Filter),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Plane:
    """One component of a picture."""

    blocks: Int16  # [rows, columns, 64], quantised, row by row; the library's memory, valid until the file is written
    table: Float32  # [64], quantisation
    across: int  # pixels of the picture to a sample
    down: int

    @cached_property
    def means(self) -> Float32:
        """The mean of each block [rows, columns], 0 to 255: read once, as the blocks are too many for a cache."""
        return self.blocks[..., 0] * np.float32(self.table[0] / SIDE) + np.float32(MIDDLE)

    def samples(self, rows: slice, columns: slice, side: int) -> Float32:  # type: ignore[explicit-any]  # slice's
        """Blocks as pictures of ``side`` times ``side`` samples (1, 2, 4 or 8), each the mean of those it stands for.

        Args:
            rows: of blocks.
            columns: of blocks.
            side: samples a side of a block; with 1, changes of the blocks since the first such call do not show.

        Returns:
            [rows * side, columns * side], 0 to 255 but for what quantisation and rare frequencies add.
        """
        if side == 1:
            return self.means[rows, columns]
        blocks = self.blocks[rows, columns]
        weights, used = _means(side)
        height, width = blocks.shape[:2]
        # Along rows of blocks, then along columns; each is one frequency, or one sample, of all blocks.
        by_row = [mixed(weights, [blocks[..., SIDE * v + u] * self.table[SIDE * v + u] for v in used]) for u in used]
        samples = np.empty((height, side, width, side), np.float32)
        for y, parts in enumerate(zip(*by_row, strict=True)):
            for x, each in enumerate(mixed(weights, parts)):
                np.add(each, MIDDLE, out=samples[:, y, :, x])
        return samples.reshape(height * side, width * side)


@functools.lru_cache(maxsize=8)
def dct(samples: int = SIDE) -> Float32:
    """The DCT of so many samples, [frequency, sample], orthonormal."""
    frequency, sample = np.mgrid[:samples, :samples]
    basis = np.cos((2 * sample + 1) * frequency * np.pi / (2 * samples)) * np.sqrt(2 / samples)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)


@functools.lru_cache(maxsize=8)
def _means(side: int) -> tuple[Float32, NDArray[np.intp]]:
    """[side, frequencies]: what each coefficient adds to means of SIDE / side samples; and which of them add much."""
    means = dct().reshape(SIDE, side, SIDE // side).mean(axis=2).T
    used = np.flatnonzero(np.abs(means).max(axis=0) >= means[0, 0] * _MUCH)
    return np.ascontiguousarray(means[:, used]), used


def mixed(weights: Float32, parts: Sequence[Float32]) -> list[Float32]:
    """Sums of ``parts``, all of one shape, by each row of ``weights``; a BLAS would start threads of its own for it."""
    mixtures = []
    for row in weights:
        mixture = parts[0] * row[0]
        for weight, part in zip(row[1:], parts[1:], strict=True):
            mixture += weight * part
        mixtures.append(mixture)
    return mixtures


class Blocks:
    """The planes of one file, until it is written or closed; of one thread at a time.

    Args:
        data: the file.
        header: what it says of itself.
        orientation: as in EXIF, 1 to 8. The planes are as stored, the written file is upright.

    Raises:
        PhotoError: the library finds fault with the file, it is of a kind that `fits` does not name, or its edge has
            blocks that would not be whole in the upright picture.
    """

    def __init__(self, data: bytes, header: JpegHeader, orientation: int = 1) -> None:
        self.orientation = orientation
        #: Of the upright picture in pixels.
        self.height, self.width = header.height, header.width
        if orientation in SIDEWAYS:
            self.height, self.width = self.width, self.height
        self._pass = _Pass(data, header, _TURNS[orientation])
        try:
            threading.Thread(target=self._pass.run, name="blocks", daemon=True).start()
        except RuntimeError as error:  # the system has no thread left
            self._pass.done.set()
            raise PhotoError(f"its blocks cannot be read: {error}") from error
        self._pass.ready.wait()
        if not self._pass.planes:
            raise PhotoError(f"its blocks cannot be read: {self._pass.error or 'the file ends too early'}")

    def __del__(self) -> None:
        self.close()

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Brightness, and blueness and redness where the picture has colour."""
        return self._pass.planes

    def write(self) -> bytes:
        """The file with the blocks as they are now, without metadata; the planes are gone then.

        Raises:
            PhotoError: the library cannot write it.
        """
        self._end(wanted=True)
        self._pass.done.wait()
        if self._pass.written is None:
            raise PhotoError(f"its blocks cannot be written: {self._pass.error}")
        return self._pass.written

    def close(self) -> None:
        """End without writing; the planes are gone then. Does nothing if that has happened.

        Does not wait for the library's thread, which may have ended with the interpreter.
        """
        if hasattr(self, "_pass"):
            self._end(wanted=False)

    def _end(self, *, wanted: bool) -> None:
        self._pass.planes = ()
        if not self._pass.go.is_set():
            self._pass.wanted = wanted
            self._pass.go.set()


class _Passes:
    """Those that are under way. None may come back to an interpreter that is gone: the process would abort."""

    def __init__(self) -> None:
        self._lock, self._ended = threading.Lock(), False
        self._all: weakref.WeakSet[_Pass] = weakref.WeakSet()
        atexit.register(self._end)

    def add(self, each: _Pass) -> None:
        with self._lock:
            if self._ended:
                raise PhotoError("its blocks cannot be read: the program ends")
            self._all.add(each)

    def _end(self) -> None:
        with self._lock:
            self._ended, left = True, list(self._all)
        for each in left:
            each.go.set()
            each.done.wait(_PATIENCE)


_passes: Final = _Passes()


class _Pass:
    """What the library's thread and `Blocks` share; refers to no `Blocks`, so that one which is dropped is closed."""

    def __init__(self, data: bytes, header: JpegHeader, turn: int) -> None:
        self.data, self.header, self.turn = data, header, turn
        self.ready, self.go, self.done = threading.Event(), threading.Event(), threading.Event()
        self.planes: tuple[Plane, ...] = ()
        self.wanted = False
        self.written: bytes | None = None
        self.error = ""
        _require_one_scan(data, header)
        self._bounded = _is_bounded(data)
        self._rows: list[list[int]] = [[] for _ in header.sampling]
        self._sizes: list[tuple[int, int]] = [(0, 0)] * len(header.sampling)
        _passes.add(self)

    def run(self) -> None:
        """Read, wait, and write; on a thread of its own."""
        try:
            self._run()
        except Exception as error:  # reaches nobody from here
            self.error = self.error or str(error)
        finally:
            self.planes, self.data = (), b""
            self.ready.set()
            self.done.set()

    def _run(self) -> None:
        library = _library()
        assert library is not None, "`fits` comes first"
        handle = ctypes.c_void_p(library.tj3Init(_TRANSFORM))
        try:
            self._transform(library, handle)
        finally:
            library.tj3Destroy(handle)

    def _transform(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        data = self.data
        if library.tj3DecompressHeader(handle, data, len(data)) != 0:
            raise PhotoError(_said(library, handle))
        if library.tj3Get(handle, _COLOURS) != (_GREY if len(self._rows) == 1 else _YCBCR):
            raise PhotoError("its colours are not stored as brightness, blueness and redness")
        library.tj3Set(handle, _STOP_ON_WARNING, 1)
        transforms = (_Transform * 2)()
        transforms[0].options, transforms[0].filter = _NO_OUTPUT | _NO_MARKERS, _Filter(self._row)
        transforms[1].options, transforms[1].op = _NO_MARKERS | _PERFECT, self.turn
        outputs, sizes = (ctypes.c_void_p * 2)(), (ctypes.c_size_t * 2)()
        try:
            if library.tj3Transform(handle, data, len(data), 2, outputs, sizes, transforms) != 0:
                raise PhotoError(_said(library, handle))
            if self.wanted:
                self.written = ctypes.string_at(outputs[1] or 0, sizes[1])
        finally:
            for each in outputs:
                library.tj3Free(each)

    def _row(self, address: int, at: _Region, whole: _Region, component: int, _transform: int, _: object) -> int:
        """Called by the library for each row of blocks; anything but 0 makes it give up."""
        try:
            self._sizes[component] = whole.h // SIDE, whole.w // SIDE
            self._rows[component].append(address)
            factor = self.header.sampling[-1][1]
            count = -(-(whole.h // SIDE) // factor) * factor
            if component + 1 < len(self._rows) or len(self._rows[component]) < count:
                return 0
            self.planes = tuple(self._planes())
            self.ready.set()
            self.go.wait()
            return 0 if self.wanted else -1
        except Exception as error:  # must not pass through the library
            self.error = str(error)
            return -1

    def _planes(self) -> Iterator[Plane]:
        header = self.header
        most = tuple(max(factors) for factors in zip(*header.sampling, strict=True))
        for addresses, size, factors, table in zip(
            self._rows, self._sizes, header.sampling, header.table_of, strict=True
        ):
            blocks = _rows_of_blocks(addresses, *size)
            steps = most[0] // factors[0], most[1] // factors[1]
            _require_sane(blocks, bounded=self._bounded)
            yield Plane(blocks, np.array(header.tables[table], np.float32), *steps)


def _rows_of_blocks(addresses: list[int], rows: int, columns: int) -> Int16:
    """[rows, columns, 64] where the library keeps them: one row behind the other, with as much between all of them."""
    length = columns * SIDE * SIDE
    steps = {after - before for before, after in pairwise(addresses)} or {2 * length}
    (step,) = steps if len(steps) == 1 else (0,)
    if step < 2 * length or step % 2:
        raise PhotoError("it is too large for one piece of memory")
    count = step // 2 * (rows - 1) + length
    flat = np.ctypeslib.as_array((ctypes.c_int16 * count).from_address(addresses[0]))
    return np.lib.stride_tricks.as_strided(flat, (rows, columns, SIDE * SIDE), (step, 2 * SIDE * SIDE, 2))


def _require_sane(blocks: Int16, *, bounded: bool) -> None:
    """Refuse coefficients that are larger than a file should have; some hostile one has them.

    Args:
        blocks: of a plane.
        bounded: the file's codes have no AC coefficient above `LARGEST`, so that they need not be looked at.
    """
    looked_at = blocks[..., 0] if bounded else blocks.reshape(len(blocks), -1)
    if cv2.norm(looked_at, cv2.NORM_INF) <= LARGEST:
        return
    if looked_at.max() > LARGEST or looked_at.min() < -LARGEST - 1 or blocks[..., 1:].min() < -LARGEST:
        raise PhotoError("a coefficient is too large")


def _require_one_scan(data: bytes, header: JpegHeader) -> None:
    """Refuse a file whose planes are stored one by one: quantisation tables may change between them."""
    *_, scan = segments(data)
    if scan.payload[:1] != bytes([len(header.sampling)]):
        raise PhotoError("its blocks cannot be read: its planes are stored one by one")


def _is_bounded(data: bytes) -> bool:
    """Whether the Huffman codes of a file have no AC coefficient of more than ten bits, as they should."""
    begin = 0
    for segment in segments(data):
        at, table, begin = 0, segment.payload, segment.end
        while segment.marker == DHT and at + 17 <= len(table):
            count = sum(table[at + 1 : at + 17])
            if table[at] >> 4 and any(symbol & 15 > _BITS for symbol in table[at + 17 : at + 17 + count]):
                return False
            at += 17 + count
    return data.find(bytes((0xFF, DHT)), begin) < 0  # nor any behind the first scan


def fits(header: JpegHeader) -> bool:
    """Whether a file's blocks can be changed in place here: baseline, 8 bits, grey or YCbCr, no table with a zero."""
    kind = header.precision == 8 and not header.progressive and not header.arithmetic
    planes = len(header.sampling) == 1 or header.subsampling is not None
    return kind and planes and all(map(all, header.tables)) and _library() is not None


def missing() -> str | None:
    """Why no file's blocks can be changed here, and how to fix it; None if they can."""
    return None if _library() is not None else "it needs libjpeg-turbo 3; pip install turbojpeg"


def _said(library: ctypes.CDLL, handle: ctypes.c_void_p) -> str:
    return str(library.tj3GetErrorStr(handle).decode("ascii", "replace"))


@functools.cache
def _library() -> ctypes.CDLL | None:
    """libjpeg-turbo 3: the one that the wheel ``turbojpeg`` brings, or the system's; None where there is neither."""
    for path in _paths():
        try:
            library = ctypes.CDLL(path)
            return _declared(library)
        except (OSError, AttributeError):  # not there, or version 2, which has other functions
            continue
    return None


def _paths() -> Iterator[str]:
    spec = importlib.util.find_spec("turbojpeg")
    if spec is not None and spec.origin is not None:
        beside = Path(spec.origin).parent
        for folder in ("turbojpeg.libs", "turbojpeg.dylibs", ".dylibs"):
            yield from (str(path) for path in sorted((beside / folder).glob("*turbojpeg*")))
    if (name := ctypes.util.find_library("turbojpeg")) is not None:
        yield name


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.tj3Init.argtypes, library.tj3Init.restype = (ctypes.c_int,), pointer
    library.tj3Destroy.argtypes, library.tj3Destroy.restype = (pointer,), None
    library.tj3Free.argtypes, library.tj3Free.restype = (pointer,), None
    library.tj3Get.argtypes = pointer, ctypes.c_int
    library.tj3Set.argtypes = pointer, ctypes.c_int, ctypes.c_int
    library.tj3GetErrorStr.argtypes, library.tj3GetErrorStr.restype = (pointer,), ctypes.c_char_p
    library.tj3DecompressHeader.argtypes = pointer, ctypes.c_char_p, size
    library.tj3Transform.argtypes = (
        pointer, ctypes.c_char_p, size, ctypes.c_int, ctypes.POINTER(pointer), ctypes.POINTER(size),
        ctypes.POINTER(_Transform),
    )  # fmt: skip
    return library
