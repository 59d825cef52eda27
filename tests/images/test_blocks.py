"""JPEG files as blocks of coefficients: read, changed in place, written."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import blocks as blocks_module
from dadfi_fast.images.blocks import SIDE, Blocks, dct, fits, missing
from dadfi_fast.images.jpeg import JpegHeader, read_header
from dadfi_fast.types import UInt8

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"JPEG blocks: {missing()}")
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "grey")


def picture(height: int = 83, width: int = 117) -> UInt8:
    """Smooth colours and some texture; no side is a multiple of a block."""
    y, x = np.mgrid[:height, :width]
    channels = [128 + 90 * np.sin(x / 9 + n) * np.cos(y / (7 + n)) + 12 * ((x + y * n) % 3) for n in range(3)]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


def file(sampling: str = "4:2:0", quality: int = 92, pixels: UInt8 | None = None) -> bytes:
    pixels = picture() if pixels is None else pixels
    if sampling == "grey":
        return bytes(simplejpeg.encode_jpeg(pixels[..., :1].copy(), quality, "GRAY", "Gray"))
    return bytes(simplejpeg.encode_jpeg(pixels, quality, "RGB", sampling.replace(":", "")))


def opened(data: bytes) -> tuple[Blocks, JpegHeader]:
    header = read_header(data)
    return Blocks(data, header), header


def decoded(data: bytes) -> UInt8:
    pixels: UInt8 = simplejpeg.decode_jpeg(data, "GRAY" if len(read_header(data).sampling) == 1 else "RGB")
    return pixels


def planes(data: bytes) -> list[UInt8]:
    """By Pillow, colour enlarged to the size of brightness."""
    image = Image.open(io.BytesIO(data))
    image.draft("YCbCr", image.size)
    return [np.asarray(each) for each in (image.split() if image.mode == "YCbCr" else [image])]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_file_that_nobody_changes_keeps_every_coefficient(sampling: str) -> None:
    data = file(sampling)
    blocks, header = opened(data)
    before = [plane.blocks.copy() for plane in blocks.planes]
    written = blocks.write()
    assert np.array_equal(decoded(written), decoded(data))
    again, after = opened(written)
    assert all(np.array_equal(a, b.blocks) for a, b in zip(before, again.planes, strict=True))
    assert (after.tables, after.sampling) == (header.tables, header.sampling)
    again.close()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_samples_are_what_the_decoder_makes_of_the_blocks(sampling: str) -> None:
    data = file(sampling, 100)
    blocks, _ = opened(data)
    brightness = blocks.planes[0]
    rows, columns = (slice(0, n) for n in brightness.blocks.shape[:2])
    samples = brightness.samples(rows, columns, SIDE)[:83, :117]
    assert np.abs(samples - planes(data)[0]).max() < 1.5
    blocks.close()


@pytest.mark.parametrize("side", [1, 2, 4])
def test_fewer_samples_are_means(side: int) -> None:
    data = file("4:4:4", 100)
    blocks, _ = opened(data)
    step = SIDE // side
    for plane in blocks.planes:
        whole = plane.samples(slice(1, 9), slice(2, 12), SIDE)
        means = whole.reshape(8 * side, step, 10 * side, step).mean(axis=(1, 3))
        assert np.abs(plane.samples(slice(1, 9), slice(2, 12), side) - means).mean() < (0.01 if side == 1 else 1.0)
    blocks.close()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_change_of_one_block_changes_no_other(sampling: str) -> None:
    data = file(sampling)
    blocks, _ = opened(data)
    plane = blocks.planes[0]
    plane.blocks[3, 5, 0] += 9
    table = plane.table[0]
    before, after = decoded(data).astype(int), decoded(blocks.write()).astype(int)
    changed = np.argwhere((before != after).any(axis=-1))
    assert changed.min(axis=0).tolist() == [24, 40] and changed.max(axis=0).tolist() == [31, 47]
    assert abs((after - before)[24:32, 40:48].mean() - 9 * table / SIDE) < 1.5


def test_the_planes_know_their_tables_and_their_share_of_the_pixels() -> None:
    data = file("4:2:0", 75)
    blocks, header = opened(data)
    brightness, blueness, redness = blocks.planes
    assert brightness.table.tolist() == list(header.tables[0])
    assert blueness.table.tolist() == redness.table.tolist() == list(header.tables[1])
    assert [(each.down, each.across) for each in blocks.planes] == [(1, 1), (2, 2), (2, 2)]
    assert [each.blocks.shape[:2] for each in blocks.planes] == [(11, 15), (6, 8), (6, 8)]
    blocks.close()


def test_metadata_are_left_out() -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG", exif=b"Exif\0\0MM\0*" + bytes(40), comment=b"here", quality=90)
    written = opened(buffer.getvalue())[0].write()
    assert written[:4] == b"\xff\xd8\xff\xe0" and b"Exif" not in written and b"here" not in written


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("cut in two", file()[:-1500]),
        ("no scan", file()[:700]),
        ("zeros in its scan", file()[:1500] + bytes(400) + file()[1900:]),
        ("another file's header", file("4:4:4")[:-1200] + b"\xff\xd9"),
    ],
)
def test_a_damaged_file_is_refused(what: str, data: bytes) -> None:
    with pytest.raises(PhotoError, match="blocks cannot be read"):
        Blocks(data, read_header(file()))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xd8\xff\xd9", id="no picture"),
        pytest.param(file("grey"), id="grey, where the header has three planes"),
    ],
)
def test_a_file_unlike_its_header_is_refused(data: bytes) -> None:
    with pytest.raises(PhotoError):
        Blocks(data, read_header(file()))


def test_colours_that_are_stored_as_they_are_are_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG", keep_rgb=True, quality=90)
    header = read_header(buffer.getvalue())
    assert fits(header)  # the header does not say
    with pytest.raises(PhotoError, match="brightness"):
        Blocks(buffer.getvalue(), header)


@pytest.mark.parametrize(
    ("index", "value", "refused"),
    [(7, 1024, True), (7, -1024, True), (0, 1024, True), (0, -1024, False), (9, 1023, False), (9, -1023, False)],
)
def test_coefficients_that_no_baseline_file_can_hold_are_refused(index: int, value: int, refused: bool) -> None:
    blocks = np.zeros((3, 4, 64), np.int16)
    blocks[2, 1, index] = value
    for bounded in (False, True):
        looked_at = index == 0 or not bounded
        with pytest.raises(PhotoError, match="too large") if refused and looked_at else nullcontext():
            blocks_module._require_sane(blocks, bounded=bounded)


def with_code(data: bytes, symbol: int) -> bytes:
    """With another symbol at the end of the first table of AC codes."""
    at = data.index(b"\xff\xc4", data.index(b"\xff\xc4") + 1)
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[: end - 1] + bytes([symbol]) + data[end:]


def test_codes_for_large_coefficients_are_seen() -> None:
    data = file()
    assert blocks_module._is_bounded(data) and blocks_module._is_bounded(with_code(data, 0x0A))
    assert not blocks_module._is_bounded(with_code(data, 0x0B))
    end = data.index(b"\xff\xda") + 14
    assert not blocks_module._is_bounded(data[:end] + b"\xff\xc4" + data[end:])


def saved(**options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def with_a_zero_in_a_table(data: bytes) -> bytes:
    at = data.index(b"\xff\xdb") + 5
    return data[: at + 9] + b"\0" + data[at + 10 :]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(saved(quality=90), True, id="baseline"),
        pytest.param(saved(quality=90, optimize=True), True, id="its own Huffman tables"),
        pytest.param(saved(quality=90, restart_marker_rows=1), True, id="restart markers"),
        pytest.param(saved(quality=90, progressive=True), False, id="progressive"),
        pytest.param(with_a_zero_in_a_table(saved(quality=90)), False, id="a table with a zero"),
    ],
)
def test_which_files_fit(data: bytes, expected: bool) -> None:
    header = read_header(data)
    assert fits(header) is expected
    if expected:
        blocks, _ = opened(data)
        assert np.array_equal(decoded(blocks.write()), decoded(data))


def test_planes_are_gone_once_the_file_is_written_or_closed() -> None:
    blocks, _ = opened(file())
    blocks.write()
    assert blocks.planes == ()
    with pytest.raises(PhotoError):
        other = opened(file())[0]
        other.close()
        other.close()
        other.write()


def waiting() -> int:
    return sum(thread.name == "blocks" for thread in threading.enumerate())


def test_blocks_that_are_dropped_leave_no_thread() -> None:
    held = [opened(file())[0] for _ in range(5)]
    assert waiting() >= 5
    del held
    gc.collect()
    end = time.monotonic() + 10
    while waiting() and time.monotonic() < end:
        time.sleep(0.01)
    assert not waiting()


def test_a_process_ends_while_blocks_are_open() -> None:
    code = (
        "import sys; from dadfi_fast.images.blocks import Blocks; from dadfi_fast.images.jpeg import read_header;"
        "data = sys.stdin.buffer.read(); blocks = Blocks(data, read_header(data)); print(len(blocks.planes))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=file(), capture_output=True, timeout=60, check=True)
    assert done.stdout.strip() == b"3"


def test_a_process_ends_while_a_file_is_read() -> None:
    code = (
        "import sys, threading; from dadfi_fast.images.blocks import Blocks;"
        "from dadfi_fast.images.jpeg import read_header; data = sys.stdin.buffer.read(); header = read_header(data);"
        "read = lambda: [Blocks(data, header) for _ in range(10_000)];"
        "[threading.Thread(target=read, daemon=True).start() for _ in range(2)]; threading.Event().wait(0.05)"
    )
    large = file(pixels=np.tile(picture(), (8, 8, 1)))
    codes = [subprocess.run([sys.executable, "-c", code], input=large, timeout=60).returncode for _ in range(4)]
    assert codes == [0] * 4


def test_planes_that_are_stored_one_by_one_are_refused() -> None:
    data = file()
    at = data.index(b"\xff\xda") + 4
    assert data[at] == 3
    with pytest.raises(PhotoError, match="one by one"):
        Blocks(data[:at] + b"\1" + data[at + 1 :], read_header(data))


def test_tables_behind_the_picture_change_nothing() -> None:
    data = file()
    table = data[data.index(b"\xff\xdb") :][:69]
    written = Blocks(data + table[:5] + bytes([99] * 64), read_header(data)).write()
    assert np.array_equal(decoded(written), decoded(data))


def test_several_threads_have_blocks_of_their_own() -> None:
    files = [file(sampling, quality) for sampling in SAMPLINGS for quality in (70, 99)]
    written: dict[int, bytes] = {}

    def work(index: int) -> None:
        for _ in range(5):
            written[index] = opened(files[index])[0].write()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for index, data in enumerate(files):
        assert np.array_equal(decoded(written[index]), decoded(data))


def test_without_the_library_no_file_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "_library", lambda: None)
    assert not fits(read_header(file()))
    assert "turbojpeg" in str(missing())


def test_a_library_that_is_no_library_is_passed_over(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "turbojpeg.so").write_bytes(b"no library")
    monkeypatch.setattr(blocks_module, "_paths", lambda: iter([str(tmp_path / "turbojpeg.so"), "not-there.so"]))
    assert blocks_module._library.__wrapped__() is None


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_the_dct_is_orthonormal_and_opencvs(count: int) -> None:
    basis = dct(count)
    assert np.allclose(basis @ basis.T, np.eye(count), atol=1e-6)
    if count > 1:
        values = np.random.default_rng(0).standard_normal((count, 1)).astype(np.float32)
        assert np.allclose(basis @ values, cv2.dct(values), atol=1e-5)
