"""Profiles made for colours that are signalled by numbers: what LittleCMS makes of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from dadfi_fast.images import icc


def to_srgb(profile: bytes, colour: tuple[int, int, int]) -> tuple[int, ...]:
    """A colour under a profile, as sRGB."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    image = Image.new("RGB", (1, 1), colour)
    srgb = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), renderingIntent=1)
    assert srgb is not None
    return tuple(int(n) for n in np.asarray(srgb)[0, 0])


@pytest.mark.parametrize(
    ("primaries", "transfer", "colour", "expected", "why"),
    [
        (12, 13, (255, 0, 0), (255, 0, 0), "Display P3's red is beyond sRGB's, and is cut"),
        (12, 13, (200, 100, 50), (215, 93, 31), "by the matrix from P3 to sRGB of CSS Color 4, section 18"),
        (12, 13, (128, 128, 128), (128, 128, 128), "grey is grey"),
        (9, 13, (128, 128, 128), (128, 128, 128), "with white of D65, too"),
        (1, 8, (55, 55, 55), (128, 128, 128), "linear: 21.6 % is half way up in sRGB"),
        (1, 4, (128, 128, 128), (128, 128, 128), "gamma 2.2 is near sRGB"),
    ],
)
def test_colours(primaries: int, transfer: int, colour: tuple[int, ...], expected: tuple[int, ...], why: str) -> None:
    profile = icc.from_numbers(primaries, transfer)
    assert profile is not None and icc.is_profile(profile)
    assert np.allclose(to_srgb(profile, colour), expected, atol=2), why  # type: ignore[arg-type]


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (1, 1), (2, 2), (1, 6)])
def test_srgb_needs_none(primaries: int, transfer: int) -> None:
    assert icc.from_numbers(primaries, transfer) is None


def test_grey() -> None:
    profile = icc.from_numbers(12, 8, grey=True)
    assert profile is not None and ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space == "GRAY"


@pytest.mark.parametrize("damaged", [None, b"", b"profile" * 99, icc.profile(icc.SRGB, (2.2,), "x")[:-1]])
def test_what_is_no_profile(damaged: bytes | None) -> None:
    assert not icc.is_profile(damaged)
