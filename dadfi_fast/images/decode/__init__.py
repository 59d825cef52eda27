"""Files to photos: recognised by content, refused before decoding where too large, turned upright."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dadfi_fast.errors import PhotoError, UnsafePhoto
from dadfi_fast.images import exif, iptc, previews, raw, xmp
from dadfi_fast.images.boxes import brands
from dadfi_fast.images.decode.base import Decoder
from dadfi_fast.images.icc import is_profile
from dadfi_fast.images.jpeg import read_header
from dadfi_fast.images.png import kept_texts
from dadfi_fast.types import Metadata, Photo

#: First bytes that tell a format, by Pillow's name of it.
_MAGIC: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
#: Brands of ISO media files that hold a picture; a file has several, and which is its main one says little.
_AVIF: Final = frozenset((b"avif", b"avis"))
_HEIF: Final = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
#: Bytes that `recognise` needs.
HEAD: Final = 128
#: What is said where something in the metadata cannot be read and is large enough for a picture of a face.
MAY_BE_LEFT: Final = "a preview may be left in"
#: EXIF orientations whose rows are columns of the upright picture.
SIDEWAYS: Final = frozenset((5, 6, 7, 8))
#: What turns a picture upright, after rows and columns were exchanged where they have to be, by OpenCV's number: 1 for
#: left and right, 0 for top and bottom, -1 for both.
FLIPS: Final = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
#: Most and fewest pixels an inch that are believed.
_RESOLUTION: Final = (0.1, 65535.0)


def recognise(head: bytes) -> str | None:
    """Pillow's name of the format that a file's first `HEAD` bytes belong to; None for what is no picture.

    ``RAW`` stands for what cameras write instead of one.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if raw.is_raw(head):
        return "RAW"
    if head[4:8] == b"ftyp":
        kinds = brands(head)
        return "AVIF" if kinds & _AVIF else "HEIF" if kinds & _HEIF else None
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def open_picture(data: bytes, *, max_pixels: int, animated: str = "refuse") -> Decoder:
    """Read a picture's header; nothing is decoded yet.

    Args:
        data: the file.
        max_pixels: more are refused.
        animated: what has several frames or pages: ``refuse`` it, or take the ``first``.

    Raises:
        UnsafePhoto: it says that it has more than ``max_pixels`` pixels.
        PhotoError: it is damaged, animated and so refused, or of a kind that cannot be decoded here.
    """
    form = recognise(data[:HEAD])
    if form is None:
        raise PhotoError("not a supported image file" if data else "the file is empty")
    if form == "RAW":
        raise PhotoError(raw.REFUSED)
    decoder = _decoder(data, form)
    if decoder.width * decoder.height > max_pixels:
        raise UnsafePhoto(
            f"{decoder.width}x{decoder.height} pixels exceed --max-pixels {max_pixels}. Raise it if you trust the file."
        )
    if decoder.frames > 1 and animated == "refuse":
        raise PhotoError(
            f"the file has {decoder.frames} frames or pages. Pass --animated first to protect only the first frame."
        )
    return decoder


def _decoder(data: bytes, form: str) -> Decoder:
    if form == "JPEG":
        from dadfi_fast.images.decode.simplejpeg import JpegDecoder

        header = read_header(data)
        if len(header.sampling) == 1 or header.subsampling is not None:
            return JpegDecoder(data, header)
        from dadfi_fast.images.decode.pillow import OddJpegDecoder

        return OddJpegDecoder(data, header)
    if form == "PNG":
        from dadfi_fast.images.decode.png import PngDecoder

        return PngDecoder(data)
    from dadfi_fast.images.decode.pillow import PillowDecoder, TiffDecoder

    return TiffDecoder(data) if form == "TIFF" else PillowDecoder(data, form)


def decode(decoder: Decoder, source: Path, *, strip_gps: bool = False) -> Photo:
    """The photo, upright, with metadata that say so.

    Raises:
        PhotoError: the file is damaged or cut off.
    """
    raster = decoder.decode()
    metadata, stated = _cleaned(decoder.metadata, strip_gps=strip_gps, converted=raster.converted)
    turn = 1 if raster.upright else stated or xmp.stated_orientation(decoder.metadata.xmp) or 1
    return Photo(
        source=source,
        pixels=upright(raster.pixels, turn),
        encoding=decoder.encoding,
        metadata=metadata,
        alpha=None if raster.alpha is None else upright(raster.alpha, turn),
        deep=None if raster.deep is None else upright(raster.deep, turn),
    )


def orientation(raw_metadata: Metadata) -> int:
    """How a picture is stored, 1 to 8: what EXIF says counts more than what XMP says, as it does for viewers."""
    return exif.stated_orientation(raw_metadata.exif) or xmp.stated_orientation(raw_metadata.xmp) or 1


def cleaned(raw_metadata: Metadata, *, strip_gps: bool, converted: bool = False) -> Metadata:
    """What a file says of its photo, as it holds once that is upright; ``converted``: its colours are sRGB now."""
    return _cleaned(raw_metadata, strip_gps=strip_gps, converted=converted)[0]


def _cleaned(raw_metadata: Metadata, *, strip_gps: bool, converted: bool) -> tuple[Metadata, int | None]:
    """`cleaned`, and the orientation that EXIF states."""
    block, stated, unread = exif.clean(raw_metadata.exif, strip_gps=strip_gps)
    packet = xmp.cleaned(raw_metadata.xmp, strip_gps=strip_gps)
    profile = raw_metadata.icc if is_profile(raw_metadata.icc) else None
    resources = iptc.cleaned(raw_metadata.photoshop, strip_gps=strip_gps)
    dpi = raw_metadata.dpi if _is_resolution(raw_metadata.dpi) else None
    notes = [*raw_metadata.notes]
    lost = (
        ("EXIF", raw_metadata.exif, block),
        ("XMP", raw_metadata.xmp, packet),
        ("ICC profile", raw_metadata.icc, profile),
    )
    notes += [f"left out a damaged {name}" for name, before, after in lost if before and after is None]
    notes += ["left out an impossible resolution"] if dpi != raw_metadata.dpi else []
    blocks = (packet, resources, profile)  # what EXIF holds has just been blanked
    # No picture does without zeros, and text does.
    left = ["the metadata"] if any(any(previews.pictures(b)) for b in blocks if b and b"\0" in b) else []
    left += [*unread, *(["IPTC or Photoshop's resources"] if iptc.unread(resources) else [])]
    notes += [f"{MAY_BE_LEFT} {' and '.join(left)}"] if left else []
    result = Metadata(
        exif=block,
        icc=None if converted else profile,
        xmp=packet,
        dpi=dpi,
        photoshop=resources,
        texts=kept_texts(raw_metadata.texts, strip_gps=strip_gps),
        colour=() if converted else raw_metadata.colour,
        notes=tuple(notes),
    )
    return result, stated


def _is_resolution(dpi: tuple[float, float] | None) -> bool:
    return dpi is None or all(_RESOLUTION[0] <= n <= _RESOLUTION[1] for n in dpi)


def upright(pixels: NDArray, orientation: int) -> NDArray:  # type: ignore[type-arg]
    """An array [H, W, ...] stored with an EXIF ``orientation`` (1 to 8) as it is to be seen."""
    if orientation in SIDEWAYS:
        pixels = cv2.transpose(pixels)
    flip = FLIPS.get(orientation)
    if flip is not None:
        pixels = cv2.flip(pixels, flip)
    return np.ascontiguousarray(pixels)
