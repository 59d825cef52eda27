"""TIFF in every layout: read as tifffile reads it, written so that tifffile reads the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.encode import encode
from dadfi_fast.types import Metadata, Photo, Protected, UInt8

Smooth = Callable[[int, int], UInt8]
HEIGHT, WIDTH = 70, 90


def random_samples(bits: int, channels: int) -> Any:
    """Samples [H, W, channels] that differ in every byte."""
    top = 2**bits
    kind = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(0).integers(0, top, (HEIGHT, WIDTH, channels)).astype(kind)


def tiff(samples: Any, **options: Any) -> bytes:
    """A file by tifffile; ``planar`` puts the channels behind each other."""
    if options.pop("planar", False):
        samples, options["planarconfig"] = samples.transpose(2, 0, 1), "separate"
    elif samples.shape[2] == 1:
        samples = samples[..., 0]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def photo(data: bytes) -> Photo:
    """``data`` decoded."""
    return decode(open_picture(data, max_pixels=10**8), Path("x"))


def pixels_of(image: Photo) -> Any:
    """The pixels in the depth that the file has."""
    return image.pixels if image.deep is None else image.deep


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 13}, {"tile": (32, 48)}], ids=["one", "strips", "tiles"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("packing", [{}, {"compression": "zlib"}], ids=["plain", "deflate"])
@pytest.mark.parametrize("big", [False, True], ids=["", "BigTIFF"])
def test_layouts(bits: int, order: str, layout: Any, planar: bool, packing: Any, big: bool) -> None:
    samples = random_samples(bits, 3)
    data = tiff(samples, photometric="rgb", planar=planar, byteorder=order, bigtiff=big, **layout, **packing)
    result = photo(data)
    assert np.array_equal(pixels_of(result), samples)
    assert result.encoding.mode == ("RGB" if bits == 8 else "RGB;16") and result.alpha is None


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_orientation_is_applied_once(bits: int, orientation: int, channels: int) -> None:
    samples = random_samples(bits, channels)
    options: dict[str, Any] = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    kind = "minisblack" if channels == 1 else "rgb"
    result = photo(tiff(samples, photometric=kind, extratags=[(274, 3, 1, orientation, True)], **options))
    turn: dict[int, Callable[[Any], Any]] = {
        1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1), 7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: np.rot90(x),
    }  # fmt: skip
    expected = turn[orientation](samples)
    assert np.array_equal(pixels_of(result), np.repeat(expected, 3, 2) if channels == 1 else expected[..., :3])
    assert (result.alpha is not None and np.array_equal(result.alpha, expected[..., 3])) is (channels == 4)


@pytest.mark.parametrize("bits", [8, 16])
def test_white_may_be_zero(bits: int) -> None:
    samples = random_samples(bits, 1)
    result = photo(tiff(~samples, photometric="miniswhite"))
    assert np.array_equal(pixels_of(result)[..., 0], samples[..., 0]) and result.encoding.mode in ("L", "I;16")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(
    ("kinds", "channels", "alpha", "notes"),
    [
        (["unassalpha"], 4, True, ()),
        (["unspecified"], 4, False, ("left out 1 further channel",)),
        (["unspecified", "unassalpha"], 5, True, ("left out 1 further channel",)),
        (["unassalpha"], 2, True, ()),
    ],
)
def test_further_channels(
    bits: int, planar: bool, kinds: list[str], channels: int, alpha: bool, notes: tuple[str, ...]
) -> None:
    samples = random_samples(bits, channels)
    kind = "rgb" if channels > 2 else "minisblack"
    how = {"planar": True} if planar and channels > 2 else {"planarconfig": "contig"}
    result = photo(tiff(samples, photometric=kind, extrasamples=kinds, **how))
    assert np.array_equal(pixels_of(result)[..., 0], samples[..., 0]) and result.metadata.notes == notes
    assert (result.alpha is not None and np.array_equal(result.alpha, samples[..., -1])) is alpha


@pytest.mark.parametrize("bits", [8, 16])
def test_colours_are_not_left_multiplied_by_alpha(bits: int) -> None:
    top = 2**bits - 1
    colour = random_samples(bits, 3)
    alpha = np.full((HEIGHT, WIDTH, 1), top // 2, colour.dtype)
    stored = (colour.astype(np.float64) * alpha / top).round().astype(colour.dtype)
    result = photo(tiff(np.dstack((stored, alpha)), photometric="rgb", extrasamples=["assocalpha"]))
    assert np.abs(pixels_of(result).astype(int) - colour).max() <= 2
    assert result.alpha is not None and np.array_equal(result.alpha, alpha[..., 0])


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        (random_samples(16, 4), {"photometric": "separated"}, "16 bits a sample, CMYK"),
        (random_samples(16, 1).astype(np.int16), {"photometric": "minisblack"}, "signed numbers"),
        (random_samples(8, 3).astype(np.float16), {"photometric": "rgb"}, "floating point"),
        (random_samples(16, 1).astype(np.uint32), {"photometric": "minisblack"}, "32 bits a sample"),
        (random_samples(16, 3), {"photometric": "cielab"}, "CIELab"),
        (random_samples(8, 3), {"photometric": "cielab"}, "CIELab"),
    ],
)
def test_what_nobody_reads_right_is_refused(samples: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(PhotoError, match=f"a TIFF with .*{words}.* Convert it to RGB or greyscale with 8 or 16 bits"):
        open_picture(tiff(samples, **options), max_pixels=10**8)


def pages(*kinds: tuple[int, int]) -> bytes:
    """Pages of (size, NewSubfileType), the first channel as large as the size."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for size, kind in kinds:
            writer.write(np.full((size, size, 3), size, np.uint8), photometric="rgb", subfiletype=kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kinds", "frames", "size"),
    [
        ([(64, 0), (16, 1)], 1, 64),
        ([(16, 1), (64, 0)], 1, 64),
        ([(64, 0), (32, 1), (16, 1)], 1, 64),
        ([(64, 0), (48, 0)], 2, 64),
        ([(16, 1), (64, 0), (48, 0)], 2, 64),
    ],
)
def test_smaller_copies_are_no_pages(kinds: list[tuple[int, int]], frames: int, size: int) -> None:
    decoder = open_picture(pages(*kinds), max_pixels=10**6, animated="first")
    assert (decoder.frames, decoder.width) == (frames, size)
    assert (decoder.decode().pixels == size).all()


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("packing", [{}, {"compression": "zlib"}], ids=["plain", "deflate"])
def test_lost_pixels_are_told(cut: float, packing: dict[str, Any]) -> None:
    data = tiff(random_samples(16, 3), photometric="rgb", rowsperstrip=7, **packing)
    with pytest.raises(PhotoError, match="damaged"):
        photo(data[: int(len(data) * cut)])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tifffile_reads_what_is_written(bits: int, channels: int) -> None:
    samples = random_samples(bits, channels)
    options: dict[str, Any] = {"extrasamples": ["unassalpha"], "planarconfig": "contig"} if channels in (2, 4) else {}
    source = photo(tiff(samples, photometric="rgb" if channels > 2 else "minisblack", **options))
    data = encode(Protected(source, source.pixels, (), 0, source.deep))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        pixels = np.atleast_3d(page.asarray())
        if channels in (2, 4):
            assert [int(kind) for kind in page.extrasamples] == [2]  # alpha, not multiplied into the colours
            assert np.array_equal(pixels[..., -1], samples[..., -1])
        assert np.array_equal(pixels[..., 0], samples[..., 0]) and pixels.dtype == samples.dtype


def test_iptc_and_photoshop_go_into_their_tags() -> None:
    from dadfi_fast.images.iptc import resources_of

    records = b"\x1c\x02\x19\x00\x05alpha"
    source = photo(tiff(random_samples(8, 3), photometric="rgb"))
    source = Photo(Path("x"), source.pixels, source.encoding, Metadata(photoshop=resources_of(records)))
    data = encode(Protected(source, source.pixels, (), 0))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert bytes(file.pages[0].tags[33723].value) == records
    assert photo(data).metadata.photoshop == resources_of(records)
