"""DALI on a CPU: batches in order, one damaged picture costs itself alone, and what DALI does not get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from dadfi_fast.backends import cuda
from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.images.decode import open_picture
from dadfi_fast.images.jpeg import with_metadata
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.gpu.dali import AHEAD, Dali, Decoded, takes
from dadfi_fast.protect.gpu.decoder import choose_decoder
from dadfi_fast.types import Metadata, UInt8

Make = Callable[..., bytes]
needs_dali = pytest.mark.extras("dali")


def plain(data: bytes) -> UInt8:
    """What libjpeg-turbo makes of it."""
    return simplejpeg.decode_jpeg(data, "RGB", fastdct=False)


@needs_dali
def test_batches_come_back_in_order_and_stay(encoded: Make) -> None:
    dali, kept = Dali(threads=2, batch=4), []
    batches = [[encoded(size=(20 + 7 * n, 30 + m)) for m in range(1 + n % 4)] for n in range(9)]
    for number, batch in enumerate(batches):
        dali.begin(batch)
        if number >= AHEAD - 1:
            kept.append(dali.finish())
    kept += [dali.finish() for _ in range(AHEAD - 1)]
    for batch, results in zip(batches, kept, strict=True):  # only now: later batches have not written over earlier ones
        for file, pixels in zip(batch, results, strict=True):
            assert np.array_equal(pixels, plain(file)) and pixels.flags.writeable


@needs_dali
@pytest.mark.parametrize("share", [0.5, 0.9])  # within its header, as DALI reads it; within its pixels
@pytest.mark.parametrize("bad", [{0}, {3}, {1, 2}, {0, 1, 2, 3}])
def test_a_damaged_picture_costs_itself_alone(encoded: Make, bad: set[int], share: float) -> None:
    files = [encoded(size=(40, 50 + n)) for n in range(4)]
    batch = [file[: int(share * len(file))] if n in bad else file for n, file in enumerate(files)]
    dali = Dali(threads=1, batch=8)
    dali.begin(batch)
    dali.begin(files)  # under way while the other one fails
    first, second = dali.finish(), dali.finish()
    assert {index for index, pixels in enumerate(first) if pixels is None} == bad
    for results in (first, second):
        for file, pixels in zip(files, results, strict=True):
            assert pixels is None or np.array_equal(pixels, plain(file))
    dali.begin(files)  # and the pipeline goes on
    assert all(pixels is not None for pixels in dali.finish())


def test_pixels_are_handed_out_once(encoded: Make) -> None:
    decoder = Decoded(open_picture(encoded(), max_pixels=10**6), np.zeros((48, 64, 3), np.uint8))
    assert (decoder.width, decoder.height, decoder.frames) == (64, 48, 1)
    assert decoder.decode().pixels.shape == (48, 64, 3)
    with pytest.raises(AssertionError, match="handed out before"):
        decoder.decode()


def adobe(data: bytes, transform: int) -> bytes:
    """A JPEG with Adobe's marker, which says what the components are."""
    return data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform]) + data[2:]


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("4:2:0", True),
        ("greyscale", True),
        ("progressive", True),
        ("with a thumbnail's end in its metadata", True),
        ("Adobe, YCbCr", True),
        ("Adobe, RGB", False),  # decoders on cards take three components for YCbCr
        ("CMYK", False),  # our own conversion
        ("PNG", False),
        ("without its end", False),
        ("odd subsampling", False),
    ],
)
def test_what_dali_gets(encoded: Make, name: str, taken: bool) -> None:
    files = {
        "greyscale": encoded("JPEG", "L"),
        "progressive": encoded(progressive=True),
        "with a thumbnail's end in its metadata": with_metadata(encoded(), Metadata(exif=b"\xff\xd8\xff\xd9")),
        "Adobe, YCbCr": adobe(encoded(), 1),
        "Adobe, RGB": adobe(encoded(), 0),
        "CMYK": encoded("JPEG", "CMYK"),
        "PNG": encoded("PNG"),
        "without its end": encoded()[:-2],
        "odd subsampling": odd(encoded()),
    }
    data = files.get(name, encoded())
    assert takes(open_picture(data, max_pixels=10**6), data) is taken


def odd(data: bytes) -> bytes:
    """A JPEG that says that its luma has factors of 3 by 1."""
    at = data.index(b"\xff\xc0") + 11
    return data[:at] + b"\x31" + data[at + 1 :]


def test_a_decoder_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_decoder("cpu") == ("cpu", "named by the user")
    assert choose_decoder("auto", device="cpu")[0] == "cpu"
    with pytest.raises(UsageError, match=r"unknown --decoder fast. Available: auto, cpu, dali"):
        choose_decoder("fast")
    with pytest.raises(UsageError, match=r"unknown --decoder fast. Available: cpu, dali"):
        ProtectConfig(sources=("in",), out=Path("out"), decoder="fast")
    for there, why in (("nvidia", None), ("", "is not installed")):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, there=there: there or None)
        monkeypatch.setattr(cuda, "missing", lambda device: None)
        if why is None:
            assert choose_decoder("dali", device="cuda:1") == ("dali", "named by the user")
            assert choose_decoder("auto", device="cuda") == ("dali", "it decodes on cuda")
            continue
        with pytest.raises(
            BackendMissing, match=r"NVIDIA DALI is not installed .* run: pip install 'dadfi-fast\[dali\]'"
        ):
            choose_decoder("dali")
        decoder, reason = choose_decoder("auto", device="cuda")
        assert decoder == "cpu" and why in reason


@pytest.mark.skipif(cuda.missing() is None, reason="there is a GPU")
@needs_dali
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(BackendMissing, match="decoder dali cannot run: "):
        choose_decoder("dali", device="cuda")
    with pytest.raises(BackendMissing, match="decoder dali cannot run: "):
        Dali(device="cuda")


@pytest.mark.gpu
@needs_dali
def test_the_card_sees_what_the_processor_sees(encoded: Make) -> None:
    """Has never run. Its inverse transform may round otherwise."""
    files = [encoded(size=(100 + n, 203), subsampling=s) for n, s in enumerate(("4:2:0", "4:2:2", "4:4:4"))]
    dali = Dali(device="cuda", batch=4)
    dali.begin(files)
    for file, pixels in zip(files, dali.finish(), strict=True):
        array: Any = np.array(pixels.as_cpu())
        assert np.abs(array.astype(int) - plain(file)).max() <= 2
