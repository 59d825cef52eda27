"""Written files, decoded again and measured: what the codec left of the promise.

Both sides are read by Pillow's and OpenCV's own ways, not by the decoders that made the file: a picture that these
read wrongly would otherwise look right.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Iterable
from typing import Final

import cv2
import numpy as np
from PIL import Image, ImageCms

from dadfi_fast.errors import PhotoError, UnsafePhoto
from dadfi_fast.faces.align import Square, changed_crops
from dadfi_fast.images import heif, xmp
from dadfi_fast.images.guard import is_sane_exif
from dadfi_fast.metrics.visibility import most_visible
from dadfi_fast.protect.results import Entry, Quality
from dadfi_fast.types import UInt8

#: A photo of which less is left (dB) is another picture: no codec and no perturbation is that strong.
DIFFERENT: Final = 15.0
_SUBFILE, _PHOTOMETRIC = 254, 262  # TIFF
_REDUCED: Final = 1 | 4
_HEIF: Final = b"ftyp"


def is_drawn(name: str, share: float) -> bool:
    """Whether the photo called ``name`` is in the ``share`` (0 to 1) that is verified: the same ones in every run."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape")) < share * 2**32


def measure(
    entry: Entry, source: bytes, written: bytes, *, max_pixels: int, faces: Iterable[Square] = ()
) -> Quality | None:
    """The file ``written`` against its ``source``, both decoded afresh from their bytes.

    Args:
        faces: the squares in which the visibility of the change is measured.

    Returns:
        None where nobody but our decoders reads the source.

    Raises:
        PhotoError: what was written cannot be decoded, has another size, or is another picture.
    """
    try:
        after = _read(written, max_pixels)
    except Exception as error:
        raise PhotoError(f"the written file cannot be read back: {error}") from error
    best: tuple[UInt8, UInt8, float] | None = None
    # Each of the two has kinds of TIFF that it reads wrongly; what both read otherwise is another picture.
    for reader in (_read, _by_opencv):
        if (before := _tried(reader, source, max_pixels)) is not None:
            compared = _compared(before, after)
            best = compared if best is None or compared[2] > best[2] else best
        if best is not None and best[2] >= DIFFERENT:
            break
    if best is None:
        return None
    before, after, psnr = best
    if before.shape != after.shape:
        raise PhotoError(f"the written file is {after.shape[1]}x{after.shape[0]} pixels, unlike its source")
    if psnr < DIFFERENT:
        raise PhotoError(f"the written file shows a different image (PSNR {psnr:.1f} dB). Please report this file.")
    same = cv2.norm(before, after, cv2.NORM_INF)
    seen = most_visible(changed_crops(before, after, faces))
    return Quality(round(same), None if same == 0 or not math.isfinite(psnr) else round(psnr, 2), seen)


def _compared(before: UInt8, after: UInt8) -> tuple[UInt8, UInt8, float]:
    """Both without alpha, and how near they are, in dB; a format without alpha has the colours over white."""
    if before.shape[2] == 4:
        before = before[..., :3] if after.shape[2] == 4 else _over_white(before)
    first, second = (np.ascontiguousarray(each[..., :3]) for each in (before, after))
    return first, second, cv2.PSNR(first, second) if first.shape == second.shape else -1.0


def _tried(reader: Callable[[bytes, int], UInt8], data: bytes, max_pixels: int) -> UInt8 | None:
    try:
        return reader(data, max_pixels)
    except Exception:  # whatever comes of files that it does not know
        return None


def _by_opencv(data: bytes, max_pixels: int) -> UInt8:
    """TIFF, and JPEGs with damaged metadata, which Pillow refuses."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data[:1] in b"\xffIM" else None
    if decoded is None:
        raise PhotoError("not for OpenCV")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _read(data: bytes, max_pixels: int) -> UInt8:
    """[H, W, 3 or 4] RGB or RGBA, upright."""
    if data[4:8] == _HEIF:
        heif.register_if_there()
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > max_pixels:
            raise UnsafePhoto(f"{image.width}x{image.height} pixels are more than --max-pixels {max_pixels}")
        turn = _orientation(image)
        if image.format in ("JPEG", "MPO") and image.mode != "CMYK" and turn == 1:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            if pixels is not None:
                return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
        _turn_to_photo(image)
        pixels = _eight(image)  # Pillow turns a TIFF when it loads it, and no other format
        return pixels if image.format == "TIFF" else _turned(pixels, turn)


def _orientation(image: Image.Image) -> int:
    """By EXIF, also behind the pixels of a PNG, else by XMP."""
    if image.format == "PNG":
        image.load()
    block = image.info.get("exif")
    stated = image.getexif().get(0x0112) if block is None or is_sane_exif(block) else None
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if stated not in range(1, 9):
        stated = xmp.stated_orientation(packet.encode() if isinstance(packet, str) else packet)
    return int(stated or 1)


def _turned(pixels: UInt8, orientation: int) -> UInt8:
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    across, down = {2: (-1, 1), 3: (-1, -1), 4: (1, -1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1)}.get(orientation, (1, 1))
    return pixels[::down, ::across]


def _turn_to_photo(image: Image.Image) -> None:
    """Of a TIFF of several pictures the first that is neither a smaller copy nor a mask."""
    for page in range(getattr(image, "n_frames", 1) if image.format == "TIFF" else 0):
        image.seek(page)
        if not image.tag_v2.get(_SUBFILE, 0) & _REDUCED:  # type: ignore[attr-defined]
            return


def _eight(image: Image.Image) -> UInt8:
    if image.mode.startswith("I;16"):
        deep = np.asarray(image) >> 8
        if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
            deep = 255 - deep  # Pillow does so with 8 bits alone
        return np.repeat(deep.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "CMYK":
        image = _from_cmyk(image)
    alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if alpha else "RGB"))


def _from_cmyk(image: Image.Image) -> Image.Image:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except (KeyError, OSError, TypeError, ImageCms.PyCMSError):
        return image


def _over_white(pixels: UInt8) -> UInt8:
    share = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)
