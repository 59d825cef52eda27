"""Written files, decoded again and measured: what the codec left of the promise."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import cv2

from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.protect.results import Entry, Quality


def is_drawn(name: str, share: float) -> bool:
    """Whether the photo called ``name`` is in the ``share`` (0 to 1) that is verified: the same ones in every run."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape")) < share * 2**32


def measure(entry: Entry, source: bytes, written: bytes, *, max_pixels: int) -> Quality:
    """The file ``written`` against its ``source``, both decoded afresh from their bytes.

    Raises:
        PhotoError: what was written cannot be decoded, or has another size.
    """
    before, after = (
        decode(open_picture(each, max_pixels=max_pixels, animated="first"), Path(entry.name)).pixels
        for each in (source, written)
    )
    psnr = cv2.PSNR(before, after)
    same = cv2.norm(before, after, cv2.NORM_INF)
    return Quality(round(same), None if same == 0 or not math.isfinite(psnr) else round(psnr, 2))
