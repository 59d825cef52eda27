"""What each format carries of the metadata, and what is said of the rest."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import icc
from dadfi_fast.images.carried import carried
from dadfi_fast.images.iptc import resources_of
from dadfi_fast.types import Metadata

PROFILE = icc.profile(icc.SRGB, (2.2,), "a display")
WHOLE = Metadata(
    exif=b"exif", icc=PROFILE, xmp=b"<x/>", dpi=(72, 72), photoshop=resources_of(b"\x1c\x02\x19\x00\x01a"),
    texts=(("Title", "t"),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("target", "note"),
    [
        ("JPEG", None),
        ("PNG", None),
        ("TIFF", "left out comments: this format cannot hold it"),
        ("WEBP", "left out IPTC, comments: this format cannot hold it"),
        ("AVIF", "left out IPTC, comments: this format cannot hold it"),
        ("HEIF", "left out IPTC, comments: this format cannot hold it"),
        ("BMP", "left out EXIF, XMP, IPTC, comments: this format cannot hold it"),
    ],
)
def test_what_has_no_place_is_named(target: str, note: str | None) -> None:
    result = carried(WHOLE, target)
    assert result.notes == (() if note is None else (note,))
    for name, words in (("exif", "EXIF"), ("xmp", "XMP"), ("icc", "ICC"), ("photoshop", "IPTC"), ("texts", "comments")):
        assert bool(getattr(result, name)) is (words not in (note or ""))


def test_a_bmp_has_room_for_profiles_of_colour_alone() -> None:
    grey = Metadata(icc=icc.profile(icc.SRGB, (2.2,), "grey", grey=True))
    assert carried(grey, "BMP").icc is None and "the ICC profile" in carried(grey, "BMP").notes[0]


@pytest.mark.parametrize(
    ("metadata", "note"),
    [
        (Metadata(exif=bytes(70_000)), "left out 70000 bytes of EXIF: too long for a JPEG"),
        (Metadata(xmp=bytes(70_000)), "left out 70000 bytes of XMP: too long for a JPEG"),
        (Metadata(texts=(("Title", "x" * 70_000),)), "left out a comment: too long for a JPEG"),
    ],
)
def test_what_is_too_long_for_a_jpeg(metadata: Metadata, note: str) -> None:
    result = carried(metadata, "JPEG")
    assert result.notes == (note,) and not (result.exif or result.xmp or result.texts)
    assert carried(metadata, "PNG") == metadata


P3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def space(profile: bytes | None) -> Any:
    """What LittleCMS reads."""
    return ImageCms.ImageCmsProfile(io.BytesIO(profile or b"")).profile


@pytest.mark.parametrize(
    ("colour", "red"),
    [
        (((b"cICP", bytes((12, 13, 0, 1))),), (0.6820, 0.3194)),
        (((b"cHRM", P3), (b"gAMA", struct.pack(">I", 45455))), (0.6820, 0.3194)),
        (((b"gAMA", struct.pack(">I", 100_000)),), (0.6484, 0.3309)),
    ],
)
@pytest.mark.parametrize("target", ["JPEG", "WEBP", "TIFF"])
def test_signals_become_a_profile(colour: Any, red: tuple[float, float], target: str) -> None:
    result = carried(Metadata(colour=colour), target)
    assert np.allclose(space(result.icc).red_colorant[1][:2], red, atol=0.005) and result.colour == ()
    assert carried(Metadata(colour=colour), "PNG").colour == colour


@pytest.mark.parametrize(
    "colour",
    [
        ((b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))),
        ((b"gAMA", struct.pack(">I", 45455)),),
        ((b"cICP", bytes((1, 13, 0, 1))),),
        ((b"cHRM", b"short"), (b"gAMA", b"")),
        ((b"cHRM", bytes(32)),),
        ((b"gAMA", bytes(4)),),
    ],
    ids=["sRGB counts more", "gamma of sRGB", "cICP of sRGB", "damaged", "no luminance", "gamma 0"],
)
def test_what_is_srgb_or_nonsense_needs_none(colour: Any) -> None:
    assert carried(Metadata(colour=colour), "JPEG").icc is None


def test_a_linear_one_is_seen_as_linear() -> None:
    profile = carried(Metadata(colour=((b"gAMA", struct.pack(">I", 100_000)),)), "JPEG").icc
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
    srgb = ImageCms.profileToProfile(Image.new("RGB", (1, 1), (55, 55, 55)), source, ImageCms.createProfile("sRGB"))
    assert srgb is not None and abs(int(np.asarray(srgb)[0, 0, 0]) - 128) <= 1


def test_a_profile_that_is_given_counts_more_than_gamma() -> None:
    colour = ((b"gAMA", struct.pack(">I", 100_000)),)
    assert carried(Metadata(icc=PROFILE, colour=colour), "JPEG").icc == PROFILE


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_stays_in_png_and_is_refused_elsewhere(transfer: int, name: str) -> None:
    metadata = Metadata(colour=((b"cICP", bytes((9, transfer, 0, 1))),))
    assert carried(metadata, "PNG") == metadata
    with pytest.raises(PhotoError, match=rf"HDR colours \({name}\) can only be kept in a PNG. Pass --format keep"):
        carried(metadata, "JPEG")


@pytest.mark.parametrize(("target", "kind"), [("JPEG", "GRAY"), ("TIFF", "GRAY"), ("WEBP", "RGB ")])
def test_grey_has_a_profile_of_grey_where_it_stays_grey(target: str, kind: str) -> None:
    result = carried(Metadata(colour=((b"gAMA", struct.pack(">I", 100_000)),)), target, grey=True)
    assert (result.icc or b"")[16:20].decode() == kind
    own_profile = carried(Metadata(icc=icc.profile(icc.SRGB, (1.0,), "g", grey=True)), target, grey=True)
    assert (own_profile.icc is None) is (target == "WEBP") and bool(own_profile.notes) is (target == "WEBP")
