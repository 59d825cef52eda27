"""Verifying: the share that is asked for, the same in every run, and figures of the file itself."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.protect.results import Entry, Quality
from dadfi_fast.protect.verify import is_drawn, measure
from dadfi_fast.types import UInt8

ENTRY = Entry(Path("x"), "x", "x", 1, 1)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_the_share(share: float) -> None:
    drawn = [is_drawn(f"folder/{n}.jpg", share) for n in range(4000)]
    assert np.mean(drawn) == pytest.approx(share, abs=0.02)
    assert drawn == [is_drawn(f"folder/{n}.jpg", share) for n in range(4000)]


def png(pixels: UInt8) -> bytes:
    """A file that keeps every level."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_figures(smooth: Callable[[int, int], UInt8]) -> None:
    before = smooth(20, 30)
    after = before.copy()
    after[0, 0] += 7
    expected = 10 * np.log10(255**2 / (3 * 49 / before.size))
    figures = measure(ENTRY, png(before), png(after), max_pixels=10**6)
    assert figures.linf == 7 and figures.psnr == pytest.approx(expected, abs=0.01)
    assert measure(ENTRY, png(before), png(before), max_pixels=10**6) == Quality(0, None)


def test_another_picture_is_a_fault(smooth: Callable[[int, int], UInt8]) -> None:
    with pytest.raises(PhotoError, match="a different image"):
        measure(ENTRY, png(smooth(20, 30)), png(255 - smooth(20, 30)), max_pixels=10**6)
    with pytest.raises(PhotoError, match="20x30 pixels"):
        measure(ENTRY, png(smooth(20, 30)), png(smooth(30, 20)), max_pixels=10**6)


def test_a_reader_of_its_own_finds_what_ours_gets_wrong(
    photos: Callable[..., Path], run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides used to be read by the decoder that made the file, so that nothing it did looked wrong."""
    from dadfi_fast.images.decode import simplejpeg

    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=98)  # the result is encoded from what the decoder gave
    photos({"a.jpg": buffer.getvalue()})
    pixels = simplejpeg._decoded
    monkeypatch.setattr(simplejpeg, "_decoded", lambda *a, **o: np.ascontiguousarray(pixels(*a, **o)[::-1]))
    _, rows = run(verify=1.0)
    assert "a different image" in rows["a.jpg"]["error"]["message"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_read_in_its_own_way(
    photos: Callable[..., Path], run: Callable[..., Any], smooth: Any, form: str, orientation: int
) -> None:
    tag = Image.Exif()
    tag[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(smooth(64, 96)).save(buffer, form, exif=tag.tobytes())
    photos({"a": buffer.getvalue()})
    _, rows = run(verify=1.0)
    assert rows["a"]["written"]["psnr"] > 30


def test_a_file_that_cannot_be_read_again_is_a_fault(smooth: Callable[[int, int], UInt8]) -> None:
    with pytest.raises(PhotoError):
        measure(ENTRY, png(smooth(9, 9)), png(smooth(9, 9))[:60], max_pixels=10**6)
