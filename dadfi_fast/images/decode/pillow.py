"""Every other format through Pillow, and pictures of 16 bits a channel, which Pillow would cut to 8, through OpenCV."""

from __future__ import annotations

import io
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image, ImageCms, features

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import exif, heif
from dadfi_fast.images.decode.base import Decoder, Raster
from dadfi_fast.types import Encoding, Metadata, UInt8, UInt16

#: TIFF tags that are about the photo; the others are about how that file stores it.
_ABOUT: Final = (270, 271, 272, 274, 305, 306, 315, 316, 33432, 18246)
_DIRECTORIES: Final = (34665, 34853)  # EXIF, GPS
_BITS: Final = 258  # TIFF: bits a sample
_DNG: Final = 50706
#: How pillow-heif calls what a HEIC has.
_SAMPLING: Final = {420: "4:2:0", 422: "4:2:2", 444: "4:4:4"}


class PillowDecoder(Decoder):
    """A picture of any format that Pillow reads; of an animation the frame that it is opened at, which is the first."""

    def __init__(self, data: bytes, form: str) -> None:
        self._data = data
        self._image = image = _open(data, form)
        if form == "TIFF" and _DNG in image.tag_v2:  # type: ignore[attr-defined]
            raise PhotoError("camera raw files are not supported. Convert this one to JPEG or TIFF first.")
        self.width, self.height = image.size
        self.frames = _frames(image, form)
        self._deep = form in ("PNG", "TIFF") and _is_deep(image, data)
        self._mode = _target(image)
        mode = ("I;16" if self._mode in ("L", "LA") else "RGB;16") if self._deep else self._mode
        sampling = _SAMPLING.get(image.info.get("chroma", 0))
        lossless = form == "WEBP" and _is_lossless(data)
        self.encoding = Encoding(form, mode, subsampling=sampling, lossless=lossless)
        self.metadata = _metadata(image)

    def decode(self) -> Raster:
        """The pixels; CMYK becomes sRGB, palettes become colours."""
        if self._deep:
            return _deep(self._data)
        try:
            image, converted = (_from_cmyk(self._image), True) if self._image.mode == "CMYK" else (self._image, False)
            pixels = np.array(image.convert(self._mode))
        except Exception as error:
            raise PhotoError(f"the {self.encoding.format} is damaged: {error}") from error
        alpha = np.ascontiguousarray(pixels[..., -1]) if self._mode.endswith("A") else None
        colour = pixels[..., 0] if self._mode == "LA" else pixels[..., :3] if alpha is not None else pixels
        # Pillow turns a TIFF when it loads it, and no other format.
        return Raster(_three(colour), alpha=alpha, converted=converted, upright=self.encoding.format == "TIFF")


def _open(data: bytes, form: str) -> Image.Image:
    if form == "HEIF":
        heif.register()
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG", "MPO"] if form == "JPEG" else [form])
    except Exception as error:  # on damaged files Pillow and its codecs raise whatever comes
        if form == "AVIF" and not features.check("avif"):
            raise PhotoError("AVIF needs a newer Pillow. Run: pip install --upgrade 'pillow>=11.3'") from error
        raise PhotoError(f"the {form} is damaged, or of a variant that Pillow cannot read") from error
    return image


def _frames(image: Image.Image, form: str) -> int:
    """How many pictures there are; those behind a JPEG (MPO) are a phone's further pictures, not frames."""
    try:
        return 1 if form == "JPEG" else getattr(image, "n_frames", 1)
    except Exception as error:  # a GIF is read to its end to count them
        raise PhotoError(f"the {form} is damaged: {error}") from error


def _is_deep(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        return data[24:25] == b"\x10"  # IHDR: bit depth
    bits = image.tag_v2.get(_BITS, (8,))  # type: ignore[attr-defined]
    return 16 in (bits if isinstance(bits, tuple) else (bits,))


def _target(image: Image.Image) -> str:
    """The mode that a picture's mode is converted to: L, LA, RGB or RGBA."""
    mode = image.mode
    if mode in ("I", "F"):
        raise PhotoError(f"32 bits per channel (mode {mode}) is not supported. Convert the image to 16 bits.")
    grey = mode in ("1", "L", "LA", "La") or mode.startswith("I;16")
    alpha = mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    return ("L" if grey else "RGB") + ("A" if alpha else "")


def _from_cmyk(image: Image.Image) -> Image.Image:
    """CMYK as sRGB, by the file's ICC profile where it has one that works, else by the plain formula."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        turned = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (KeyError, OSError, TypeError, ImageCms.PyCMSError):
        return image.convert("RGB")
    return turned or image.convert("RGB")


def _three(pixels: UInt8) -> UInt8:
    if pixels.ndim == 3:
        return np.ascontiguousarray(pixels)
    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]


def _deep(data: bytes) -> Raster:
    try:
        found: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise PhotoError(f"the 16-bit image is damaged: {error}") from error
    if found is None:
        raise PhotoError("the 16-bit image is damaged")
    if found.dtype != np.uint16:
        raise PhotoError(f"{found.dtype} samples are not supported. Convert the image to 16-bit integers.")
    if found.ndim == 2:
        deep: UInt16 = cv2.cvtColor(found, cv2.COLOR_GRAY2RGB)
    else:
        deep = cv2.cvtColor(found[..., :3], cv2.COLOR_BGR2RGB)
    alpha = np.ascontiguousarray(found[..., 3]) if found.ndim == 3 and found.shape[2] == 4 else None
    return Raster((deep >> 8).astype(np.uint8), alpha=alpha, deep=deep)


def _is_lossless(webp: bytes) -> bool:
    at = 12
    while at + 8 <= len(webp):
        if webp[at : at + 4] in (b"VP8L", b"VP8 "):
            return webp[at : at + 4] == b"VP8L"
        at += 8 + (size := int.from_bytes(webp[at + 4 : at + 8], "little")) + size % 2
    return False


def _metadata(image: Image.Image) -> Metadata:
    info = image.info
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    dpi = info.get("dpi")
    try:
        block = _tiff_exif(image) if image.format == "TIFF" else info.get("exif")
        density = (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None
    except Exception:  # damaged metadata do not stand in the way of the picture
        block, density = None, None
    return Metadata(
        exif=block.removeprefix(exif.PREFIX) if block else None,
        icc=info.get("icc_profile"),
        xmp=xmp.encode() if isinstance(xmp, str) else xmp,
        dpi=density,
    )


def _tiff_exif(image: Image.Image) -> bytes | None:
    """What a TIFF says about the photo, as an EXIF block."""
    found, kept = image.getexif(), Image.Exif()
    for tag in _ABOUT:
        if tag in found:
            kept[tag] = found[tag]
    for tag in _DIRECTORIES:
        if tag in found:
            kept[tag] = dict(found.get_ifd(tag))
    return kept.tobytes() if len(kept) else None
