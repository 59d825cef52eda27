"""Formats that Pillow reads, with what Pillow does not: TIFF in its plain layouts, depth and colours of the others."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import cv2
import numpy as np
from PIL import Image, ImageCms, features

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import bmp, boxes, exif, heif, icc, iptc
from dadfi_fast.images.decode import tiff
from dadfi_fast.images.decode.base import Decoder, Raster
from dadfi_fast.images.decode.simplejpeg import intact, mended, require_end, require_scans, with_more_behind_scans
from dadfi_fast.images.jpeg import JpegHeader, with_metadata
from dadfi_fast.types import Encoding, Metadata, UInt8

T = TypeVar("T")
#: TIFF tags that are about the photo; the others are about how that file stores it.
_ABOUT: Final = (269, 270, 271, 272, 274, 285, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096))
_DIRECTORIES: Final = (34665, 34853)  # EXIF, GPS
_XMP: Final = 700
_ICC: Final = 34675
_RESOLUTION: Final = (282, 283)
_UNIT: Final = 296
_PHOTOSHOP: Final = 34377
_IPTC: Final = 33723
#: How pillow-heif calls what a HEIC has.
_SAMPLING: Final = {420: "4:2:0", 422: "4:2:2", 444: "4:4:4"}
#: Pillow's modes of JPEG 2000 -> ours where it has more than 8 bits.
_DEEP: Final = {"I;16": "I;16", "L": "I;16", "RGB": "RGB;16", "RGBA": "RGB;16"}
_MEDIA: Final = ("AVIF", "HEIF")
_GIF_ICC: Final = b"\x21\xff\x0bICCRGBG1012"
#: What TIFF says of colours without a profile: the curve, white, and the primaries.
_CURVE, _WHITE, _PRIMARIES, _PHOTOMETRIC = 301, 318, 319, 262
_SHORTEST: Final = 256


class PillowDecoder(Decoder):
    """A picture of any format that Pillow reads; of an animation the frame that it is opened at, which is the first."""

    def __init__(self, data: bytes, form: str) -> None:
        signals = boxes.read_signals(data) if form in _MEDIA else boxes.Signals()
        if signals.nclx is not None and signals.nclx[1] in icc.HDR:
            raise PhotoError(
                f"an HDR image ({icc.HDR[signals.nclx[1]]}) would lose its contrast in 8 bits. Export it as SDR first."
            )
        self._image = image = _open(data, form)
        self.width, self.height = image.size
        self.frames = _frames(image, form)
        self._mode = _target(image)
        sampling = _SAMPLING.get(image.info.get("chroma", 0))
        lossless = form == "WEBP" and _is_lossless(data)
        mode = self._mode
        self._deep: bytes | None = None  # a JPEG 2000 of more than 8 bits, which OpenCV decodes
        self.metadata = _metadata(image)
        if form in _MEDIA:
            # Grey stays that in a HEIC, and becomes three channels in an AVIF.
            self.metadata = _signalled(self.metadata, signals, grey=form == "HEIF" and self._mode.startswith("L"))
        elif form in ("BMP", "GIF"):
            self.metadata = replace(self.metadata, icc=bmp.read_profile(data) if form == "BMP" else _gif_icc(data))
        elif form == "JPEG2000":
            self.metadata = _jpeg2000(self.metadata, data)
            self._bits = boxes.jpeg2000_bits(data)
            if self._bits > 8 and image.mode in _DEEP:
                self._deep, mode = data, _DEEP[image.mode]
        self.encoding = Encoding(form, mode, subsampling=sampling, lossless=lossless)

    def turn_to(self, page: int) -> None:
        """Decode another picture of the file than the first."""
        if page:
            self._image.seek(page)

    def decode(self) -> Raster:
        """The pixels; CMYK becomes sRGB, palettes become colours."""
        try:
            if self._deep is not None:
                return _deep_jpeg2000(self._deep, self._bits, self.width, self.height)
            image, converted = (_from_cmyk(self._image), True) if self._image.mode == "CMYK" else (self._image, False)
            pixels = _shallow(image) if image.mode.startswith("I;16") else np.array(image.convert(self._mode))
        except Exception as error:
            raise PhotoError(f"the {self.encoding.format} is damaged: {error}") from error
        alpha = np.ascontiguousarray(pixels[..., -1]) if self._mode.endswith("A") else None
        colour = pixels[..., 0] if self._mode == "LA" else pixels[..., :3] if alpha is not None else pixels
        # Pillow turns a TIFF when it loads it, and no other format.
        return Raster(_three(colour), alpha=alpha, converted=converted, upright=self.encoding.format == "TIFF")


class OddJpegDecoder(Decoder):
    """A JPEG whose components libjpeg-turbo's own interface has no name for: CMYK, unusual subsampling."""

    def __init__(self, data: bytes, header: JpegHeader) -> None:
        self._data, self._header = data, header
        self.width, self.height, self.metadata = header.width, header.height, header.metadata
        self._inner = self._opened()
        tables = header.tables if len(header.sampling) == 3 else None
        self.encoding = replace(
            self._inner.encoding, quantization=tables, progressive=tables is not None and header.progressive
        )

    def decode(self) -> Raster:
        """The pixels, once more without what is not about them where that stands in the way.

        Pillow passes over what the codec complains about, so CMYK is left to the codec, and others need an end.
        """
        if len(self._header.sampling) == 4:
            return self._cmyk()
        require_end(self._data, self._header)
        raster = self._decoded()
        if self._header.arithmetic:
            more = PillowDecoder(with_more_behind_scans(self._data), "JPEG")
            require_scans(raster.pixels, more.decode().pixels)
        return raster

    def _decoded(self) -> Raster:
        try:
            return self._inner.decode()
        except PhotoError as error:
            try:
                return self._mended().decode()
            except PhotoError:
                raise error from None

    def _cmyk(self) -> Raster:
        """As sRGB. Photoshop began to store the reverse, and everybody followed."""
        stored = Image.fromarray(255 - intact(self._data, "CMYK", self._header), "CMYK")
        stored.info["icc_profile"] = self._header.metadata.icc
        return Raster(np.array(_from_cmyk(stored)), converted=True)

    def _opened(self) -> PillowDecoder:
        try:
            return PillowDecoder(self._data, "JPEG")
        except PhotoError:
            return self._mended()

    def _mended(self) -> PillowDecoder:
        bare = mended(self._data, progressive=self._header.progressive)
        return PillowDecoder(with_metadata(bare, Metadata(icc=self._header.metadata.icc)), "JPEG")


class TiffDecoder(Decoder):
    """A TIFF: of several pictures the first that is no smaller copy."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._layout = layout = tiff.read_layout(data)
        self.width, self.height, self.frames = layout.one(256), layout.one(257), layout.pages
        self._inner: PillowDecoder | None = None
        if tiff.is_plain(layout):
            colours, alpha = tiff.samples(layout)
            if layout.one(258) == 16:
                mode = "I;16" if colours == 1 else "RGB;16"
            else:
                mode = ("L" if colours == 1 else "RGB") + ("" if alpha is None else "A")
            self.encoding = Encoding("TIFF", mode)
            self.metadata = self._said(colours + (alpha is not None))
            return
        self._inner = PillowDecoder(data, "TIFF")
        self._inner.turn_to(layout.page)
        self.encoding, self.metadata = self._inner.encoding, _tiff_metadata(data, layout)

    def decode(self) -> Raster:
        """The pixels, as stored or, where Pillow reads them, upright already."""
        return tiff.read_pixels(self._data, self._layout) if self._inner is None else self._inner.decode()

    def _said(self, known: int) -> Metadata:
        more = self._layout.one(277) - known
        notes = (f"left out {more} further channel{'s' if more > 1 else ''}",) if more else ()
        return _tiff_metadata(self._data, self._layout, notes)


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


def _target(image: Image.Image) -> str:
    """The mode that a picture's mode is converted to: L, LA, RGB or RGBA."""
    mode = image.mode
    if mode in ("I", "F"):
        raise PhotoError(f"32 bits per channel (mode {mode}) is not supported. Convert the image to 16 bits.")
    if mode == "LAB":
        raise PhotoError("CIELab is not supported. Convert the image to RGB.")
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


def _shallow(image: Image.Image) -> UInt8:
    """Grey of 16 bits, to which pillow-heif spreads 10 and 12, as 8; Pillow's own conversion would make it white."""
    return (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)


def _deep_jpeg2000(data: bytes, bits: int, width: int, height: int) -> Raster:
    """More than 8 bits a channel, spread to 16: Pillow has them for grey alone."""
    samples: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16 or samples.shape[:2] != (height, width):
        raise PhotoError("cannot decode its codestream")
    if bits < 16:
        top = (1 << bits) - 1
        samples = ((samples.astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)
    alpha = np.ascontiguousarray(samples[..., 3]) if samples.ndim == 3 and samples.shape[2] == 4 else None
    if samples.ndim == 2:
        deep: Any = cv2.cvtColor(samples, cv2.COLOR_GRAY2RGB)
    else:
        deep = cv2.cvtColor(np.ascontiguousarray(samples[..., :3]), cv2.COLOR_BGR2RGB)
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
        block, density = info.get("exif"), (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None
    except (TypeError, ValueError, ZeroDivisionError):
        block, density = info.get("exif"), None
    comment = info.get("comment")
    words = comment.decode("latin-1") if isinstance(comment, bytes) else comment
    return Metadata(
        exif=block.removeprefix(exif.PREFIX) if block else None,
        icc=info.get("icc_profile"),
        xmp=xmp.encode() if isinstance(xmp, str) else xmp,
        dpi=density,
        texts=(("Comment", words),) if isinstance(words, str) and words.strip() else (),
    )


def _tiff_metadata(data: bytes, layout: tiff.Layout, notes: tuple[str, ...] = ()) -> Metadata:
    """What a TIFF says of its photo, read without its pixels: Pillow does not know every kind of these."""
    tags = Image.Exif()
    tags.bigtiff, tags.endian = data[2:4] in (b"+\0", b"\0+"), layout.order
    try:
        tags.load_from_fp(io.BytesIO(data), layout.at)
    except Exception:  # on damaged directories Pillow raises whatever comes
        return Metadata(notes=(*notes, "left out damaged metadata"))
    said = list(notes)

    def read(what: Callable[[Image.Exif], T]) -> T | None:
        try:
            return what(tags)
        except Exception:
            said.append("left out damaged metadata")
            return None

    def photoshop(tags: Image.Exif) -> bytes | None:
        return _photoshop(tags, tiff.raw_value(data, layout, _IPTC))

    metadata = Metadata(read(_tiff_exif), read(_tiff_icc), read(_tiff_xmp), read(_tiff_dpi), read(photoshop))
    return replace(metadata, notes=tuple(dict.fromkeys(said)))


def _tiff_exif(tags: Image.Exif) -> bytes | None:
    """What is about the photo, as an EXIF block."""
    block = Image.Exif()
    for tag in _ABOUT:
        if tag in tags:
            block[tag] = tags[tag]
    for tag in _DIRECTORIES:
        if tag in tags:
            block[tag] = dict(tags.get_ifd(tag))
    return block.tobytes() if len(block) else None


def _tiff_icc(tags: Image.Exif) -> bytes | None:
    """The profile, or one for the primaries that the file states."""
    if _ICC in tags or _PRIMARIES not in tags or tags.get(_PHOTOMETRIC) != tiff.RGB:
        return _bytes(tags.get(_ICC))
    white = tags.get(_WHITE) or icc.SRGB[:2]
    where = tuple(float(n) for n in (*white, *tags[_PRIMARIES]))
    return icc.measured(where, _gamma(tags.get(_CURVE))) if len(where) == len(icc.SRGB) else None  # type: ignore[arg-type]


def _gamma(curve: Any) -> float | None:
    """Of a table for one channel or for three, by its middle; None where there is none."""
    if not isinstance(curve, tuple) or len(curve) < _SHORTEST:
        return None
    size = len(curve) if len(curve) & (len(curve) - 1) == 0 else len(curve) // 3
    at, value = (size // 2) / (size - 1), curve[size // 2] / 65535
    return math.log(value) / math.log(at) if 0 < value < 1 else None


def _tiff_xmp(tags: Image.Exif) -> bytes | None:
    return _bytes(tags.get(_XMP))


def _tiff_dpi(tags: Image.Exif) -> tuple[float, float] | None:
    unit = {2: 1.0, 3: 2.54}.get(tags.get(_UNIT, 2))
    x, y = tags.get(_RESOLUTION[0]), tags.get(_RESOLUTION[1])
    return (float(x) * unit, float(y) * unit) if unit and x and y else None


def _photoshop(tags: Image.Exif, records: bytes | None) -> bytes | None:
    """Photoshop's resources; IPTC has a tag of its own, which counts where they have none.

    Programs call IPTC numbers of 32 bits, of which Pillow takes one, so ``records`` are its bytes.
    """
    resources = _bytes(tags.get(_PHOTOSHOP))
    if resources and iptc.iptc_of(resources):
        return resources
    return iptc.resources_of(records) or resources


def _bytes(value: Any) -> bytes | None:
    """The value of a tag of bytes; programs call XMP a text, too."""
    if isinstance(value, str):
        return value.encode("latin-1", "replace")
    return value if isinstance(value, bytes) else None


def _signalled(metadata: Metadata, signals: boxes.Signals, *, grey: bool) -> Metadata:
    """With a profile for colours that the file signals by numbers, which the writer does not take."""
    notes = metadata.notes if signals.bits == 8 else (*metadata.notes, f"{signals.bits} bits a channel became 8")
    profile = metadata.icc or (icc.from_numbers(*signals.nclx, grey=grey) if signals.nclx else None)
    return replace(metadata, icc=profile, notes=notes)


def _jpeg2000(metadata: Metadata, data: bytes) -> Metadata:
    blocks = boxes.jpeg2000_metadata(data)
    return replace(
        metadata,
        exif=metadata.exif or (blocks["exif"].removeprefix(exif.PREFIX) if "exif" in blocks else None),
        xmp=metadata.xmp or blocks.get("xmp"),
        photoshop=metadata.photoshop or iptc.resources_of(blocks.get("iptc")),
        icc=metadata.icc or boxes.jpeg2000_icc(data),
    )


def _gif_icc(data: bytes) -> bytes | None:
    """The profile of a GIF, in blocks of up to 255 bytes (ICC.1:2022, B.6)."""
    at = data.find(_GIF_ICC) + len(_GIF_ICC)
    if at < len(_GIF_ICC):
        return None
    parts = []
    while at < len(data) and data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(parts) or None
