"""Photos of which only the blocks of faces change: against the plain way, by decoded pixels."""

from __future__ import annotations

import gc
import io
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from dadfi_fast.errors import PhotoError
from dadfi_fast.faces.align import Square, square, to_photo
from dadfi_fast.faces.shrink import Pyramid
from dadfi_fast.images import blocks as blocks_module
from dadfi_fast.images.blocks import Blocks, missing
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.encode import encode
from dadfi_fast.images.jpeg import read_header
from dadfi_fast.protect import blocks as perturbed_blocks
from dadfi_fast.protect import stages as stages_module
from dadfi_fast.protect.blend import blend
from dadfi_fast.protect.blocks import FRACTIONS, BlockPyramid, Change, add, can_add, rounded_up_from
from dadfi_fast.protect.crop import crops
from dadfi_fast.types import Budget, Face, Float32, UInt8
from tests.protect.conftest import Boxes, Run

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"JPEG blocks: {missing()}")
BUDGET = Budget()
SIZE = 64
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "grey")


def scene(height: int = 1502, width: int = 1450) -> UInt8:
    """Smooth shapes in middle tones, with some grain; no side is a multiple of a block."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    channels = [128 + 60 * np.sin(x / (90 + 20 * n)) * np.cos(y / (70 + 15 * n)) for n in range(3)]
    grain = np.random.default_rng(0).normal(0, 2, (height, width, 1))
    return np.clip(np.stack(channels, axis=-1) + grain, 0, 255).astype(np.uint8)


def file(sampling: str = "4:2:0", quality: int = 92, pixels: UInt8 | None = None) -> bytes:
    pixels = scene() if pixels is None else pixels
    if sampling == "grey":
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels[..., :1]), quality, "GRAY", "Gray"))
    return bytes(simplejpeg.encode_jpeg(pixels, quality, "RGB", sampling.replace(":", "")))


def decoded(data: bytes) -> UInt8:
    return decode(open_picture(data, max_pixels=10**8), Path("a.jpg")).pixels


def perturbation(size: int = SIZE, seed: int = 1) -> Float32:
    noise = np.random.default_rng(seed).standard_normal((size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.0).transpose(2, 0, 1)
    return BUDGET.clip(smooth / smooth.std() * np.float32(0.025))[None]


def changed(data: bytes, where: Square, delta: Float32) -> UInt8:
    blocks = Blocks(data, read_header(data))
    add(blocks, [where], delta, BUDGET)
    return decoded(blocks.write())


def blended(data: bytes, where: Square, delta: Float32) -> UInt8:
    """The plain way: pixels, and a JPEG of the same kind."""
    photo = decode(open_picture(data, max_pixels=10**8), Path("a.jpg"))
    return decoded(encode(blend(photo, [], [where], delta, BUDGET)))


def wanted(where: Square, delta: Float32, height: int, width: int, *, grey: bool) -> Float32:
    """What is to be added, without any rounding or compression."""
    result = np.zeros((height, width, 3), np.float32)
    rows, columns, inner_rows, inner_columns = where.inside(height, width)
    part = to_photo(delta[0], where.side)[inner_rows, inner_columns]
    result[rows, columns] = part.mean(axis=-1, keepdims=True) if grey else part
    return result


PLAIN = file()
SQUARES = [
    pytest.param(Square(400, 300, 701), id="large, off the grid"),
    pytest.param(Square(480, 320, 320), id="on the grid"),
    pytest.param(Square(611, 457, 150), id="small"),
    pytest.param(Square(-100, 900, 800), id="over the left edge"),
    pytest.param(Square(900, 1000, 701), id="over the corner"),
    pytest.param(Square(-40, -40, 1600), id="larger than the photo"),
]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("where", SQUARES)
def test_blocks_hold_the_perturbation_as_well_as_pixels_do(sampling: str, where: Square) -> None:
    data, delta = file(sampling, 95), perturbation()
    before = decoded(data).astype(np.float32)
    aim = wanted(where, delta, *before.shape[:2], grey=sampling == "grey")
    plain, fast = (way(data, where, delta).astype(np.float32) - before for way in (blended, changed))
    rows, columns, _, _ = where.inside(*before.shape[:2])
    errors = [np.abs(each - aim)[rows, columns].mean() for each in (plain, fast)]
    assert errors[1] < 1.05 * errors[0] + 0.02
    strength = [(each * aim).sum() / (aim * aim).sum() for each in (plain, fast)]
    assert strength[0] - 0.04 < strength[1] < max(strength[0], 1.0) + 0.04


def blue_stripes(period: int = 3) -> Float32:
    """Blue against yellow, of ``period`` values: what the generator writes, as brightness is seen more."""
    x = np.arange(128) * 2 * np.pi / period
    wave = (np.sin(x) * np.ones((128, 1)) * 0.045).astype(np.float32)
    return np.stack([-0.3 * wave, -0.2 * wave, wave])[None]


@pytest.mark.parametrize(
    ("sampling", "quality", "times"), [("4:2:0", 90, 1.3), ("4:2:0", 80, 1.3), ("4:4:4", 75, 1.15)]
)
def test_coarse_tables_leave_the_perturbation_whole(sampling: str, quality: int, times: float) -> None:
    where, delta = Square(400, 300, 400), blue_stripes()
    data = file(sampling, quality)
    before = decoded(data).astype(np.float32)
    aim = wanted(where, delta, *before.shape[:2], grey=False)
    plain, fast = (way(data, where, delta).astype(np.float32) - before for way in (blended, changed))
    kept = [(each * aim).sum() / (aim * aim).sum() for each in (plain, fast)]
    assert times * kept[0] < kept[1] < 1.1, "colour between the samples of 4:2:0 is lost either way"
    assert kept[1] > 0.6


def test_brightness_is_rounded_to_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fraction colour is rounded up from."""
    data, where, grey = file("4:2:0", 80), Square(400, 300, 400), np.repeat(blue_stripes()[:, 2:], 3, axis=1)
    written = []
    for fraction in (0.25, 0.5):
        monkeypatch.setattr(perturbed_blocks, "rounded_up_from", lambda changes, fraction=fraction: fraction)
        blocks = Blocks(data, read_header(data))
        before = blocks.planes[0].blocks.copy()
        add(blocks, [where], grey, BUDGET)
        written.append(blocks.planes[0].blocks - before)
        blocks.close()
    assert np.abs(written[0]).max() >= 1 and np.array_equal(*written)


def random_change(scale: float, seed: int, shape: tuple[int, int] = (40, 30)) -> Change:
    rng = np.random.default_rng(seed)
    table = rng.integers(3, 60, 64).astype(np.float32)
    steps = {n: (rng.standard_normal(shape) * scale / table[n]).astype(np.float32) for n in range(16)}
    return Change(np.zeros((*shape, 64), np.int16), table, steps)


@pytest.mark.parametrize("scale", [2.0, 5.0, 10.0, 20.0, 60.0, 2000.0])
def test_the_highest_fraction_that_keeps_the_perturbation(scale: float) -> None:
    changes = [random_change(scale, seed) for seed in (0, 1)]

    def kept(up_from: float) -> float:
        """Of the perturbation, once its fractions from ``up_from`` on are rounded up."""
        written = wanted = 0.0
        for change in changes:
            for n, steps in change.steps.items():
                square, size = float(change.table[n]) ** 2, np.abs(steps).astype(float)
                written += square * (np.floor(size + 1 - up_from) * size).sum()
                wanted += square * (size * size).sum()
        return written / wanted

    chosen = rounded_up_from(changes)
    assert chosen in FRACTIONS
    if chosen == 0.5:
        assert kept(0.5) >= 0.98
        return
    assert kept(chosen) >= 1 or chosen == FRACTIONS[0]
    assert kept(0.5) < 0.98 and kept(FRACTIONS[FRACTIONS.index(chosen) + 1]) < 1


@pytest.mark.parametrize("up_from", [0.3, 0.5])
def test_a_change_is_rounded_away_from_zero(up_from: float) -> None:
    steps = np.array([[0.0, 0.29, 0.31, 0.49, 0.51, 1.29, 1.31, -0.29, -0.31, -0.51, -1.31]], np.float32)
    change = Change(np.full((1, 11, 64), 7, np.int16), np.full(64, 3, np.float32), {5: steps})
    change.add(up_from)
    expected = np.sign(steps) * np.floor(np.abs(steps) + 1 - up_from)
    assert np.array_equal(change.blocks[..., 5], 7 + expected)
    assert (np.delete(change.blocks, 5, axis=-1) == 7).all()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_nothing_changes_beside_the_blocks_of_the_face(sampling: str) -> None:
    data, where = file(sampling), Square(400, 300, 701)
    before, after = decoded(data), changed(data, where, perturbation())
    differs = np.argwhere((before != after).any(axis=-1))
    play = 18  # the rest of a block of subsampled colour, and its interpolation
    assert (differs.min(axis=0) >= np.array([300, 400]) - play).all()
    assert (differs.max(axis=0) <= np.array([1001, 1101]) + play).all()
    assert len(differs) > 300_000


def test_black_and_white_stay_within_their_range() -> None:
    for level in (0, 255):
        pixels = np.full((1450, 1450, 3), level, np.uint8)
        data, delta = file("4:4:4", 100, pixels), np.full((1, 3, SIZE, SIZE), 0.05, np.float32)
        for sign in (1, -1):
            after = changed(data, Square(200, 200, 800), sign * delta).astype(int)
            inner = after[400:800, 400:800]
            moved = sign * 6 if (level == 0) == (sign > 0) else 0
            assert abs(inner - level - moved).max() <= 1


def test_the_largest_change_is_that_of_the_perturbation() -> None:
    data = file()
    for size, limit in ((0.05, 6), (0.01, 1), (0.0, 0)):
        blocks = Blocks(data, read_header(data))
        delta = np.full((1, 3, SIZE, SIZE), size, np.float32)
        assert add(blocks, [Square(400, 300, 701)], delta, Budget(0.05)) == limit
        blocks.close()


@pytest.mark.parametrize("level", [None, 0, 255])
def test_a_perturbation_of_nothing_changes_no_coefficient(level: int | None) -> None:
    data = file() if level is None else file("4:4:4", 100, np.full((1450, 1450, 3), level, np.uint8))
    blocks = Blocks(data, read_header(data))
    before = [plane.blocks.copy() for plane in blocks.planes]
    add(blocks, [Square(400, 300, 701)], np.zeros((1, 3, SIZE, SIZE), np.float32), BUDGET)
    assert all(np.array_equal(a, b.blocks) for a, b in zip(before, blocks.planes, strict=True))
    blocks.close()


@pytest.mark.parametrize(
    ("squares", "expected"),
    [
        ([Square(0, 0, 100), Square(200, 0, 100)], True),
        ([Square(0, 0, 100), Square(99, 99, 100)], False),
        ([Square(-200, 0, 100)], False),
        ([], True),
    ],
)
def test_squares_that_share_pixels_or_lie_beside_the_photo_need_pixels(squares: list[Square], expected: bool) -> None:
    blocks = Blocks(PLAIN, read_header(PLAIN))
    assert can_add(blocks, squares) is expected
    blocks.close()


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(160, 154), (97, 101), (64, 61)])
def test_small_copies_are_those_of_the_pixels(sampling: str, size: tuple[int, int]) -> None:
    data = file(sampling, 95, scene(1504, 1568))
    blocks = Blocks(data, read_header(data))
    pyramid = BlockPyramid(blocks)
    assert pyramid.reaches(*size) and not pyramid.reaches(320, 320)
    fast, plain = pyramid(*size).astype(int), Pyramid(decoded(data))(*size).astype(int)
    assert fast.shape == plain.shape and np.abs(fast - plain).mean() < 1.0 and np.abs(fast - plain).max() < 8
    blocks.close()


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("where", SQUARES)
def test_crops_are_those_of_the_pixels(sampling: str, where: Square) -> None:
    data = file(sampling, 95)
    blocks = Blocks(data, read_header(data))
    fast = crops(BlockPyramid(blocks), [where], size=128) * 127.5
    plain = crops(decoded(data), [where], size=128) * 127.5
    assert np.abs(fast - plain).mean() < 1.5
    blocks.close()


FACE = Boxes((0.3, 0.3, 0.6, 0.6))
TWINS = Boxes((0.3, 0.3, 0.6, 0.6), (0.35, 0.35, 0.65, 0.65))


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way photos went: blocks that were written, pixels that were decoded."""
    ways: list[str] = []
    write, pixels = Blocks.write, stages_module.decode

    def watched_write(self: Blocks) -> bytes:
        ways.append("blocks")
        return write(self)

    def watched_decode(*args: Any, **options: Any) -> Any:
        ways.append("pixels")
        return pixels(*args, **options)

    monkeypatch.setattr(Blocks, "write", watched_write)
    monkeypatch.setattr(stages_module, "decode", watched_decode)
    return ways


def saved(pixels: UInt8, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def turned(pixels: UInt8, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(pixels, quality=92, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("where", [SQUARES[0], SQUARES[4]])
def test_pictures_that_are_stored_otherwise_come_out_upright(orientation: int, where: Square) -> None:
    data, delta = turned(scene()[:1488, :1440], orientation), perturbation()
    plain, before = blended(data, where, delta).astype(np.float32), decoded(data).astype(np.float32)
    blocks = Blocks(data, read_header(data), orientation)
    assert (blocks.height, blocks.width) == before.shape[:2]
    small = BlockPyramid(blocks)(150, 150).astype(int)
    assert np.abs(small - Pyramid(decoded(data))(150, 150)).mean() < 1.0
    crop = crops(BlockPyramid(blocks), [where], size=128) * 127.5
    assert np.abs(crop - crops(decoded(data), [where], size=128) * 127.5).mean() < 1.5
    add(blocks, [where], delta, BUDGET)
    after = decoded(blocks.write()).astype(np.float32)
    assert after.shape == before.shape
    aim = wanted(where, delta, *before.shape[:2], grey=False)
    strength = [(aim * (each - before)).sum() / (aim * aim).sum() for each in (plain, after)]
    assert strength[1] == pytest.approx(strength[0], abs=0.04)
    outside = aim.any(axis=-1) | cv2.dilate((aim != 0).any(axis=-1).astype(np.uint8), np.ones((37, 37))).astype(bool)
    assert np.abs(after - before)[~outside].max(initial=0) <= 3  # turning changes the order of the decoder's sums


@pytest.mark.parametrize(
    ("make", "options", "way"),
    [
        pytest.param(lambda p: saved(p, quality=90), {}, "blocks", id="plain"),
        pytest.param(lambda p: saved(p[..., 0], quality=90), {}, "blocks", id="grey"),
        pytest.param(lambda p: saved(p, quality=90), {"format": "jpeg"}, "blocks", id="JPEG asked for"),
        pytest.param(lambda p: saved(p, quality=90), {"strip_gps": True}, "blocks", id="places removed"),
        pytest.param(lambda p: saved(p, quality=90), {"quality": 80}, "pixels", id="another quality"),
        pytest.param(lambda p: saved(p, quality=90), {"format": "png"}, "pixels", id="another format"),
        pytest.param(lambda p: saved(p, quality=90), {"chroma": "full"}, "pixels", id="another subsampling"),
        pytest.param(
            lambda p: saved(p, quality=90, subsampling=0), {"chroma": "full"}, "blocks", id="the same subsampling"
        ),
        pytest.param(lambda p: saved(p, quality=90), {"chroma": "auto"}, "blocks", id="large faces"),
        pytest.param(lambda p: saved(p, quality=20), {}, "pixels", id="coarse tables"),
        pytest.param(lambda p: saved(p, qtables=[[8] * 64, [60] * 64]), {}, "pixels", id="a coarse table of colour"),
        pytest.param(lambda p: turned(p[:1488, :1440], 6, subsampling=1), {}, "pixels", id="sideways, 4:2:2"),
        pytest.param(lambda p: saved(p[:1408, :1408], quality=90), {}, "both", id="just too small"),
        pytest.param(lambda p: saved(p, quality=90, progressive=True), {}, "pixels", id="progressive"),
        pytest.param(lambda p: saved(p[:800, :900], quality=90), {}, "both", id="small"),
        pytest.param(lambda p: saved(p[:800, :900], quality=97), {}, "both", id="small, steps of 5"),
        pytest.param(lambda p: saved(p[:800, :900], quality=98), {}, "pixels", id="small, fine tables"),
        pytest.param(
            lambda p: saved(p[:800, :900], qtables=[[1] * 64]), {}, "pixels", id="small, one fine table for all"
        ),
        pytest.param(
            lambda p: saved(p[:800, :900], qtables=[[5] * 64]), {}, "both", id="small, one coarse table for all"
        ),
        pytest.param(lambda p: saved(p[:800, :900, 0], quality=90), {}, "pixels", id="small, grey"),
        pytest.param(lambda p: turned(p[:800, :896], 6), {}, "both", id="small, stored sideways"),
        pytest.param(lambda p: turned(p[:805, :890], 6), {}, "pixels", id="small, sideways, blocks not whole"),
        pytest.param(lambda p: saved(p[:800, :900], quality=90, keep_rgb=True), {}, "pixels", id="small, RGB"),
        pytest.param(lambda p: saved(p[:800, :900], progressive=True), {}, "pixels", id="small, progressive"),
        pytest.param(lambda p: saved(p[:800, :900], quality=90), {"chroma": "full"}, "pixels", id="small, 4:4:4"),
        pytest.param(lambda p: turned(p[:1488, :1440], 6), {}, "blocks", id="stored sideways"),
        pytest.param(lambda p: turned(p, 6), {}, "pixels", id="stored sideways, with blocks that are not whole"),
        pytest.param(lambda p: saved(p, quality=90, keep_rgb=True), {}, "pixels", id="stored as RGB"),
    ],
)
def test_which_photos_keep_their_blocks(
    make: Callable[[UInt8], bytes], options: dict[str, Any], way: str, run: Run, photos: Any, used: list[str]
) -> None:
    photos({"a.jpg": make(scene())})
    summary, _ = run(detector=FACE, **options)
    assert (summary.written, summary.failed) == (1, 0)
    ways = {"pixels": ["pixels"], "blocks": ["blocks"], "both": ["pixels", "blocks"]}  # searched by, written by
    assert used == ways[way] or (used == ["pixels", "pixels"] and way == "pixels"), "coarse tables: read once more"


def test_small_faces_whose_colour_is_to_be_kept_take_the_pixels(run: Run, photos: Any, used: list[str]) -> None:
    photos({"a.jpg": file()})
    assert run(detector=Boxes((0.3, 0.3, 0.4, 0.4)), chroma="auto")[0].written == 1 and used == ["pixels"]


def test_overlapping_faces_take_the_pixels(run: Run, photos: Any, used: list[str]) -> None:
    photos({"a.jpg": file()})
    assert run(detector=TWINS)[0].written == 1 and used == ["pixels"]


def test_a_search_in_larger_copies_takes_the_pixels_and_writes_blocks(run: Run, photos: Any, used: list[str]) -> None:
    class Curious(Boxes):
        def search(self, height: int, width: int, small: Callable[[int, int], UInt8]) -> list[Face]:
            assert small(width // 2, height // 2).shape == (height // 2, width // 2, 3)
            return super().search(height, width, small)

    photos({"a.jpg": file()})
    assert run(detector=Curious(*FACE.boxes))[0].written == 1 and used == ["pixels", "blocks"]


@pytest.mark.parametrize("side", [1450, 800])
def test_what_the_library_cannot_write_is_written_from_pixels(
    run: Run, photos: Any, used: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, side: int
) -> None:
    def refuse(self: Blocks) -> bytes:
        self.close()
        raise PhotoError("no")

    monkeypatch.setattr(Blocks, "write", refuse)
    data = file(pixels=np.ascontiguousarray(scene()[:side, :side]))
    photos({"a.jpg": data})
    assert run(detector=FACE)[0].written == 1 and used == ["pixels"]
    assert (decoded((tmp_path / "out" / "a.jpg").read_bytes()) != decoded(data)).any()


def test_a_damaged_photo_fails_as_it_does_without_blocks(
    run: Run, photos: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos({"a.jpg": file()[:-20_000] + b"\xff\xd9"})
    _, fast = run(detector=FACE)
    monkeypatch.setattr(blocks_module, "_library", lambda: None)
    _, plain = run(detector=FACE, out=tmp_path / "plain")
    assert fast["a.jpg"]["status"] == "failed" and fast["a.jpg"]["error"] == plain["a.jpg"]["error"]


def test_metadata_tag_and_other_pixels_are_kept(run: Run, photos: Any, tmp_path: Path, used: list[str]) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    data = saved(scene(), quality=90, exif=exif, dpi=(300, 300), comment=b"hello")
    photos({"a.jpg": data})
    run(detector=FACE)
    assert used == ["blocks"]
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.getexif()[0x010F] == "A camera" and image.info["dpi"] == (300, 300)
        assert image.info["comment"] == b"hello" and b"dadfi" in image.info["xmp"]
        after = np.asarray(image)
    before = np.asarray(Image.open(io.BytesIO(data)))
    box = square(FACE.find(before)[0])
    rows, columns, _, _ = box.inside(*before.shape[:2])
    same = (before == after).all(axis=-1)
    outside = np.ones(same.shape, bool)
    outside[rows.start - 18 : rows.stop + 18, columns.start - 18 : columns.stop + 18] = False
    assert same[outside].all() and same[rows, columns].mean() < 0.5


def test_a_run_leaves_no_thread_behind(run: Run, photos: Any, tmp_path: Path) -> None:
    photos({f"{n}.jpg": file() for n in range(3)})
    run(detector=FACE)
    run(detector=Boxes(), out=tmp_path / "copies")
    gc.collect()
    end = time.monotonic() + 10
    while (left := [t for t in threading.enumerate() if t.name == "blocks"]) and time.monotonic() < end:
        time.sleep(0.01)
    assert not left


def test_the_same_photo_gives_the_same_file(run: Run, photos: Any, tmp_path: Path) -> None:
    photos({"a.jpg": file()})
    results = set()
    for name in ("one", "two"):
        run(detector=FACE, out=tmp_path / name)
        results.add((tmp_path / name / "a.jpg").read_bytes())
    assert len(results) == 1


def test_a_budget_bounds_the_pixels_up_to_what_the_tables_round() -> None:
    data, where = file("4:4:4", 98), Square(400, 300, 701)
    strong = replace(BUDGET, eps=0.02)
    delta = strong.clip(perturbation() * 10)
    blocks = Blocks(data, read_header(data))
    assert add(blocks, [where], delta, strong) == 3
    change = decoded(blocks.write()).astype(int) - decoded(data)
    assert np.percentile(np.abs(change), 99.9) <= 5
