"""TIFF: which of its pictures is the photo, and pictures of 8 and 16 bits in every layout that TIFF has for them.

libtiff, through Pillow, unpacks strips and tiles to bytes: each is handed to it as a grey picture of 8 bits that is as
wide as the row has bytes. What the bytes mean (depth, byte order, planes, predictor, which end is white, alpha) is
settled here, once for all depths. Palettes, one bit, CMYK, YCbCr and JPEG inside TIFF are left to Pillow.
Source: TIFF 6.0; TIFF Technical Note 1 (SubIFDs).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import raw
from dadfi_fast.images.decode.base import Raster
from dadfi_fast.types import UInt8

Tags: TypeAlias = dict[int, tuple[int, ...]]
Samples: TypeAlias = NDArray[Any]  # uint8 or uint16

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION = 254, 255, 256, 257, 258, 259
_PHOTOMETRIC, _FILL = 262, 266
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _SUB_IFDS, _EXTRA, _FORMAT = 322, 323, 324, 325, 330, 338, 339
_DEFAULTS: Final[Tags] = {
    _BITS: (1,), _COMPRESSION: (1,), _SAMPLES: (1,), _PLANAR: (1,), _PREDICTOR: (1,), _FORMAT: (1,), _FILL: (1,),
}  # fmt: skip
_POSITIVE: Final = (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLES)
#: Bytes a value of each type takes, and how `struct` calls the whole numbers among them.
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
#: Directories that are followed; and of a whole file the entries, and the values of tags with more than a few:
#: directories and values may overlap, so that a short file could have any number of them.
_MOST: Final = 1000
_ENTRIES: Final = 1 << 20
_VALUES: Final = 1 << 22
_FEW: Final = 256
#: GPS, XMP, IPTC, Photoshop; and what GeoTIFF and GDAL say of a map.
_PLACED: Final = frozenset({34853, 700, 33723, 34377, 34665})
_MAPS: Final = frozenset({33550, 33922, 34264, 34735, 34736, 34737, 42112})
_REDUCED: Final = 1 | 4  # a smaller copy, a mask
#: Compressions that give back the very bytes: none, LZW, Deflate (two numbers), PackBits, LZMA, Zstandard.
_LOSSLESS: Final = frozenset({1, 5, 8, 32946, 32773, 34925, 50000})
#: CCITT's three for fax, and JPEG, old and new: Pillow has them for 8 bits and 1.
_PILLOWS: Final = frozenset({2, 3, 4, 6, 7, 32771})
_WHITE_IS_ZERO, _BLACK_IS_ZERO, RGB = 0, 1, 2
_YCBCR: Final = 6
_JPEGS: Final = (6, 7)
_NAMES: Final = {5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 3: "a palette", 4: "a mask"}


@dataclass(frozen=True)
class Layout:
    """The directories of a file."""

    order: str  # of bytes, as `struct` calls it
    page: int  # which in the chain is the photo
    pages: int  # how many are, smaller copies and masks not counted
    tags: Tags  # of the photo
    at: int = 0  # where its directory stands

    def get(self, tag: int) -> tuple[int, ...]:
        """The values of a tag; TIFF's own default where the file does not say."""
        return self.tags.get(tag) or _DEFAULTS.get(tag, ())

    def one(self, tag: int) -> int:
        """The first value of a tag.

        Raises:
            PhotoError: there is none.
        """
        values = self.get(tag)
        if not values or (tag in _POSITIVE and not values[0]):
            raise PhotoError(f"the TIFF is damaged: tag {tag} is missing")
        return values[0]


class _File:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        self._big = data[2:4] in (b"+\0", b"\0+")
        self._entries, self._values = _ENTRIES, _VALUES  # that may still be read
        self.first = self._one("Q", 8) if self._big else self._one("I", 4)

    def _one(self, kind: str, at: int) -> int:
        value: int = struct.unpack_from(self.order + kind, self.data, at)[0]
        return value

    def chain(self, at: int) -> Iterator[tuple[int, Tags]]:
        seen: set[int] = set()
        while at and at not in seen and len(seen) < _MOST:
            seen.add(at)
            offset = at
            tags, at = self.directory(at)
            yield offset, tags

    def directory(self, at: int) -> tuple[Tags, int]:
        """The whole numbers in a directory, and where the next one is."""
        count, size, start = (self._one("Q", at), 20, at + 8) if self._big else (self._one("H", at), 12, at + 2)
        if start + size * count > len(self.data):
            raise struct.error("the directory reaches beyond the file")
        self._entries -= count
        if self._entries < 0:
            raise struct.error("its directories have more entries than any program writes")
        tags: Tags = {}
        for n in range(count):
            self._entry(start + size * n, tags)
        try:
            following = self._one("Q" if self._big else "I", start + size * count)
        except (struct.error, OverflowError):  # cut off right behind it
            following = 0
        return tags, following

    def raw_value(self, directory: int, wanted: int) -> bytes | None:
        """The bytes of a tag's value, whatever their type is called."""
        if self._big:
            count, size, at = self._one("Q", directory), 20, directory + 8
        else:
            count, size, at = self._one("H", directory), 12, directory + 2
        word, room = ("Q", 8) if self._big else ("I", 4)
        for entry in range(at, at + size * count, size):
            tag, kind = struct.unpack_from(self.order + "HH", self.data, entry)
            if tag == wanted:
                length = self._one(word, entry + 4) * _SIZES.get(kind, 1)
                start = entry + 4 + room if length <= room else self._one(word, entry + 4 + room)
                return self.data[start : start + length]
        return None

    def _entry(self, at: int, tags: Tags) -> None:
        tag, kind = struct.unpack_from(self.order + "HH", self.data, at)
        count, inline, room = (self._one("Q", at + 4), at + 12, 8) if self._big else (self._one("I", at + 4), at + 8, 4)
        if kind not in _WHOLE or count > self._values:
            tags.setdefault(tag, ())
            return
        self._values -= count if count > _FEW else 0
        size = count * _SIZES[kind]
        offset = inline if size <= room else self._one("Q" if self._big else "I", inline)
        if offset + size <= len(self.data):
            tags.setdefault(tag, struct.unpack_from(f"{self.order}{count}{_WHOLE[kind]}", self.data, offset))


def read_layout(data: bytes) -> Layout:
    """What a TIFF file holds.

    Raises:
        PhotoError: it is a camera's raw file, holds nothing but a preview, or is damaged.
    """
    try:
        file = _File(data)
        directories = list(file.chain(file.first))
        chain = [tags for _, tags in directories]
        below = [tags for each in chain for at in each.get(_SUB_IFDS, ())[:64] for tags in _tolerant(file, at)]
    except (struct.error, OverflowError) as error:
        raise PhotoError(f"the TIFF is damaged: {error}") from error
    if any(raw.is_raw_directory(tags) for tags in (*chain, *below)):
        raise PhotoError(raw.REFUSED)
    photos = [n for n, tags in enumerate(chain) if not _is_reduced(tags)]
    page = photos[0] if photos else 0
    if not chain or not chain[page].get(_WIDTH):
        raise PhotoError("the TIFF is damaged: it holds no image")
    if any(_area(tags) > _area(chain[page]) for tags in below):
        raise PhotoError("its first image is a preview of a larger one. Export the photo as JPEG or TIFF first.")
    return Layout(file.order, page, max(1, len(photos)), chain[page], directories[page][0])


def raw_value(data: bytes, layout: Layout, tag: int) -> bytes | None:
    """The bytes of a tag of the photo; None where it has none.

    Raises:
        struct.error: the directory reaches beyond the file.
    """
    return _File(data).raw_value(layout.at, tag)


def may_name_place(data: bytes) -> bool:
    """Whether a directory beside the photo's own has tags that hold places, or any has those of maps (GeoTIFF)."""
    try:
        file = _File(data)
        chain = [tags for _, tags in file.chain(file.first)]
        below = [tags for each in chain for at in each.get(_SUB_IFDS, ())[:64] for tags in _tolerant(file, at)]
    except (struct.error, OverflowError):
        return True
    photos = [tags for tags in chain if not _is_reduced(tags)] or chain
    return any(
        _MAPS.intersection(tags) or (tags is not photos[0] and _PLACED.intersection(tags)) for tags in (*chain, *below)
    )


def _tolerant(file: _File, at: int) -> list[Tags]:
    try:
        return [file.directory(at)[0]]
    except (struct.error, OverflowError):
        return []


def _is_reduced(tags: Tags) -> bool:
    return bool(tags.get(_SUBFILE, (0,))[:1] > (0,) and tags[_SUBFILE][0] & _REDUCED) or tags.get(_OLD_SUBFILE) == (2,)


def _area(tags: Tags) -> int:
    width, height = tags.get(_WIDTH, (0,)), tags.get(_HEIGHT, (0,))
    return width[0] * height[0] if width and height else 0


def is_plain(layout: Layout) -> bool:
    """Whether `read_pixels` is for this picture; what it is not for is left to Pillow, which knows 8 bits at most.

    Raises:
        PhotoError: nobody reads it right: it has more than 8 bits and is of a kind that `read_pixels` does not know.
    """
    bits, kinds = set(layout.get(_BITS)), set(layout.get(_FORMAT))
    photometric, compression = layout.one(_PHOTOMETRIC), layout.one(_COMPRESSION)
    simple = photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, RGB) and compression in _LOSSLESS
    if bits in ({8}, {16}) and kinds == {1} and simple and layout.one(_PREDICTOR) in (1, 2):
        return True
    known = compression in _LOSSLESS or compression in _PILLOWS
    if photometric == _YCBCR and compression not in _JPEGS:
        raise PhotoError("a TIFF with YCbCr that is not compressed as JPEG is not supported. Convert it to RGB.")
    if max(bits) <= 8 and kinds <= {1, 4} and photometric not in (8, 9, 10) and known:
        return False
    what = [f"{'/'.join(map(str, sorted(bits)))} bits a sample"]
    what += [_NAMES[photometric]] if photometric in _NAMES else []
    what += [f"{ {2: 'signed numbers', 3: 'floating point', 5: 'complex numbers', 6: 'complex numbers'}[k] }"
             for k in sorted(kinds) if k in (2, 3, 5, 6)]  # fmt: skip
    what += [f"compression {compression}"] if not known else []
    raise PhotoError(
        f"a TIFF with {', '.join(what)} is not supported. Convert it to RGB or greyscale with 8 or 16 bits."
    )


def samples(layout: Layout) -> tuple[int, int | None]:
    """How many samples are colour, and which one is alpha: one that says so, or the one that no tag speaks of."""
    colours = 3 if layout.one(_PHOTOMETRIC) == RGB else 1
    count = layout.one(_SAMPLES)
    if count < colours or count > 64:
        raise PhotoError(f"the TIFF is damaged: {count} samples per pixel are not possible")
    extra = layout.get(_EXTRA)
    if not extra and count == colours + 1:
        return colours, colours
    return colours, next((colours + n for n, kind in enumerate(extra) if kind in (1, 2) and colours + n < count), None)


def read_pixels(data: bytes, layout: Layout) -> Raster:
    """The pixels of a picture that is plain (`is_plain`), as stored: not turned upright.

    Raises:
        PhotoError: they are damaged or cut off.
    """
    colours, alpha_at = samples(layout)
    stored = _stored(data, layout)
    colour = np.ascontiguousarray(stored[..., :colours])
    if layout.one(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        colour = ~colour
    alpha = None if alpha_at is None else np.ascontiguousarray(stored[..., alpha_at])
    if alpha is not None and layout.get(_EXTRA)[alpha_at - colours :][:1] == (1,):  # type: ignore[operator]
        colour = _divided(colour, alpha)
    if colours == 1:
        colour = cv2.cvtColor(colour, cv2.COLOR_GRAY2RGB)
    if colour.dtype == np.uint8:
        return Raster(colour, alpha=alpha)
    return Raster((colour >> 8).astype(np.uint8), alpha=alpha, deep=colour)


def _divided(colour: Samples, alpha: Samples) -> Samples:
    """Colours that were stored times alpha, as they are."""
    top = np.iinfo(colour.dtype).max
    by = np.maximum(alpha, 1).astype(np.uint64)[..., None]
    divided: Samples = np.minimum((colour.astype(np.uint64) * top + by // 2) // by, top).astype(colour.dtype)
    return divided


def _stored(data: bytes, layout: Layout) -> Samples:
    """[H, W, samples], in the byte order of this machine."""
    count = layout.one(_SAMPLES)
    planes = count if layout.one(_PLANAR) == 2 else 1
    tiled = _TILE_WIDTH in layout.tags
    offsets, counts = (layout.get(tag) for tag in ((_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_OFFSETS, _COUNTS)))
    each = len(offsets) // planes
    if not each or len(counts) < len(offsets):
        raise PhotoError("the TIFF is damaged: it does not state where its pixels are")
    pieces = [
        _plane(data, layout, offsets[n * each : (n + 1) * each], counts[n * each : (n + 1) * each], count // planes)
        for n in range(planes)
    ]
    return pieces[0] if planes == 1 else np.dstack(pieces)


def _plane(data: bytes, layout: Layout, offsets: Sequence[int], counts: Sequence[int], channels: int) -> Samples:
    """[H, W, channels] of strips or tiles."""
    height, width, size = layout.one(_HEIGHT), layout.one(_WIDTH), layout.one(_BITS) // 8
    kind = np.dtype(f"{layout.order}u{size}")
    if _TILE_WIDTH in layout.tags:
        block, rows = layout.one(_TILE_WIDTH), layout.one(_TILE_HEIGHT)
        across, down = -(-width // block), -(-height // rows)
    else:
        block, rows = width, min(height, (layout.get(_ROWS) or (height,))[0] or height)
        across, down = 1, -(-height // rows)
    if len(offsets) < across * down:
        raise PhotoError("the TIFF is damaged: some of its strips or tiles are missing")
    tiled = _TILE_WIDTH in layout.tags
    _require_bytes(len(data), layout, offsets[: across * down], block * channels * size, rows)
    shape = (down * rows if tiled else height, across * block * channels * size)
    plane = _unpacked(data, layout, shape, (rows, block * channels * size) if tiled else (rows, 0), offsets, counts)
    values = plane.view(kind).astype(kind.newbyteorder("="), copy=False)
    values = values.reshape(shape[0], across, block, channels)
    if layout.one(_PREDICTOR) == 2:
        values = np.cumsum(values, axis=2, dtype=values.dtype)
    return values.reshape(shape[0], across * block, channels)[:height, :width]


def _require_bytes(size: int, layout: Layout, offsets: Sequence[int], row: int, rows: int) -> None:
    """See that strips or tiles of ``rows`` rows that are not compressed lie within the file, of ``size`` bytes."""
    last = layout.one(_HEIGHT) - (len(offsets) - 1) * rows  # rows of the last strip; there is none below one
    for number, at in enumerate(offsets if layout.one(_COMPRESSION) == 1 else ()):
        strip = _TILE_WIDTH not in layout.tags and number == len(offsets) - 1
        if at + row * (last if strip else rows) > size:
            raise PhotoError("the TIFF is damaged: it is cut off")


def _unpacked(
    data: bytes,
    layout: Layout,
    shape: tuple[int, int],
    tile: tuple[int, int],
    offsets: Sequence[int],
    counts: Sequence[int],
) -> UInt8:
    """The bytes [H, W] of strips (of ``tile[0]`` rows) or tiles, by libtiff; see the head of this file."""
    tags = {
        _WIDTH: (shape[1],), _HEIGHT: (shape[0],), _BITS: (8,), _COMPRESSION: (layout.one(_COMPRESSION),),
        _PHOTOMETRIC: (1,), _FILL: layout.get(_FILL), _SAMPLES: (1,),
    }  # fmt: skip
    if tile[1]:
        tags |= {
            _TILE_WIDTH: (tile[1],),
            _TILE_HEIGHT: (tile[0],),
            _TILE_OFFSETS: tuple(offsets),
            _TILE_COUNTS: tuple(counts),
        }
    else:
        tags |= {_ROWS: (tile[0],), _OFFSETS: tuple(offsets), _COUNTS: tuple(counts)}
    if max(offsets) + max(counts) >= 1 << 32:
        raise PhotoError("a TIFF of more than 4 GB is not supported")
    try:
        image = Image.open(io.BytesIO(_wrapped(data, tags, layout.order)), formats=["TIFF"])
        samples: UInt8 = np.array(image)
    except Exception as error:  # libtiff's faults come as whatever Pillow makes of them
        raise PhotoError(f"the TIFF is damaged: {error}") from error
    if samples.shape != shape:
        raise PhotoError("the TIFF is damaged: it does not have as many pixels as its header states")
    return samples


def _wrapped(data: bytes, tags: Tags, order: str) -> bytes:
    """``data`` with a directory of these tags behind it, to which the header points."""
    at = len(data) + len(data) % 2
    heap_at = at + 2 + 12 * len(tags) + 4
    table, heap = struct.pack(order + "H", len(tags)), b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            table += struct.pack(order + "HHII", tag, 4, len(values), heap_at + len(heap))
            heap += packed
        else:
            table += struct.pack(order + "HHI", tag, 4, 1) + packed
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return b"".join((header, memoryview(data)[8:], b"\0" * (len(data) % 2), table, bytes(4), heap))
