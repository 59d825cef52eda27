"""Files to photos: recognised by content, refused before decoding where too large, turned upright."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dadfi_fast.errors import PhotoError, UnsafePhoto
from dadfi_fast.images import exif, xmp
from dadfi_fast.images.decode.base import Decoder
from dadfi_fast.images.jpeg import read_header
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
#: Brands of ISO media files that hold a picture.
_BRANDS: Final = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), "HEIF"),
}
#: Bytes that `recognise` needs.
HEAD: Final = 32


def recognise(head: bytes) -> str | None:
    """Pillow's name of the format that a file's first `HEAD` bytes belong to; None for what is no picture."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
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
        if len(header.sampling) in (1, 3):  # four are CMYK, which needs a conversion of colours, and so Pillow
            return JpegDecoder(data, header)
    from dadfi_fast.images.decode.pillow import PillowDecoder

    return PillowDecoder(data, form)


def decode(decoder: Decoder, source: Path, *, strip_gps: bool = False) -> Photo:
    """The photo, upright, with metadata that say so.

    Raises:
        PhotoError: the file is damaged or cut off.
    """
    raster = decoder.decode()
    turn = 1 if raster.upright else exif.orientation(decoder.metadata.exif)
    return Photo(
        source=source,
        pixels=upright(raster.pixels, turn),
        encoding=decoder.encoding,
        metadata=cleaned(decoder.metadata, strip_gps=strip_gps, converted=raster.converted),
        alpha=None if raster.alpha is None else upright(raster.alpha, turn),
        deep=None if raster.deep is None else upright(raster.deep, turn),
    )


def cleaned(raw: Metadata, *, strip_gps: bool, converted: bool = False) -> Metadata:
    """What a file says of its photo, as it holds once that is upright; ``converted``: its colours are sRGB now."""
    return Metadata(
        exif=exif.cleaned(raw.exif, strip_gps=strip_gps),
        icc=None if converted else raw.icc,
        xmp=xmp.cleaned(raw.xmp, strip_gps=strip_gps),
        dpi=raw.dpi,
    )


def upright(pixels: NDArray, orientation: int) -> NDArray:  # type: ignore[type-arg]
    """An array [H, W, ...] stored with an EXIF ``orientation`` (1 to 8) as it is to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = cv2.transpose(pixels)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    if flip is not None:
        pixels = cv2.flip(pixels, flip)
    return np.ascontiguousarray(pixels)
