"""Every format from file to file: what is outside faces stays, metadata travel, and the photo is seen the same way."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import heif
from dadfi_fast.images.decode import open_picture, recognise
from dadfi_fast.protect.crop import squares
from dadfi_fast.types import Face, UInt8

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF")
NAMES = dict(zip(FORMATS, ("a.jpg", "a.png", "a.tif", "a.webp", "a.avif", "a.heic"), strict=True))
#: Format, mode and options of `Image.save` with which every pixel is kept. Pillow writes BMP without alpha.
LOSSLESS = [
    (form, mode, {"lossless": True, "exact": True} if form == "WEBP" else {})
    for form in ("PNG", "TIFF", "BMP", "WEBP")
    for mode in ("RGB", "L", "RGBA")
    if (form, mode) != ("BMP", "RGBA")
]


@pytest.fixture(autouse=True)
def _heif() -> None:
    """Where the extra is installed, as it is for the tests."""
    heif.register()


def to_srgb(path: Path) -> UInt8:
    """What a viewer shows."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def outside(row: dict[str, Any], height: int, width: int) -> np.ndarray[Any, Any]:
    """A mask of what belongs to no face, from the boxes in the manifest."""
    mask = np.ones((height, width), bool)
    for square in squares([Face(*box) for box in row["faces"]]):
        rows, columns, _, _ = square.inside(height, width)
        mask[rows, columns] = False
    return mask


@pytest.mark.parametrize(("form", "mode", "options"), LOSSLESS, ids=[f"{form}-{mode}" for form, mode, _ in LOSSLESS])
def test_outside_of_faces_no_pixel_changes(
    photos: Fill, run: Run, encoded: Make, tmp_path: Path, form: str, mode: str, options: dict[str, Any]
) -> None:
    name = f"a.{form.lower()}"
    source = photos({name: encoded(form, mode, size=(160, 200), **options)}) / name
    _, rows = run()
    before, after = to_srgb(source), to_srgb(tmp_path / "out" / name)
    mask = outside(rows[name], 160, 200)
    assert 0.3 < mask.mean() < 0.9
    assert np.array_equal(before[mask], after[mask])
    assert np.abs(before.astype(int) - after)[~mask].max() == 6 == rows[name]["linf"]
    with Image.open(source) as one, Image.open(tmp_path / "out" / name) as other:
        assert one.mode == other.mode or form == "WEBP"  # a grey WebP is one of equal channels
        if mode == "RGBA":
            assert np.array_equal(np.asarray(one.getchannel("A")), np.asarray(other.getchannel("A")))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_outside_of_faces_stay(photos: Fill, run: Run, tmp_path: Path, suffix: str, channels: int) -> None:
    stored = np.random.default_rng(0).integers(0, 2**16, (120, 160, channels), dtype=np.uint16)
    photos({f"a.{suffix}": cv2.imencode(f".{suffix}", stored)[1].tobytes()})
    _, rows = run(verify=1.0)
    pixels = cv2.imread(str(tmp_path / "out" / f"a.{suffix}"), cv2.IMREAD_UNCHANGED)
    assert pixels is not None and pixels.dtype == np.uint16
    after = np.atleast_3d(pixels)
    mask = outside(rows[f"a.{suffix}"], 120, 160)
    assert np.array_equal(stored[mask], after[mask])
    changed = np.abs(stored.astype(int) - after)[~mask]
    assert 0 < changed[..., :3].max() <= 6 * 256
    if channels == 4:
        assert not changed[..., 3].any()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", FORMATS)
def test_it_is_seen_the_same_way(
    photos: Fill, run: Run, encoded: Make, tmp_path: Path, form: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "CameraX"
    options = {"lossless": True} if form == "WEBP" else {"quality": 90}
    name = NAMES[form]
    source = photos({name: encoded(form, size=(72, 104), exif=exif.tobytes(), **options)}) / name
    summary, _ = run()
    assert summary.written == 1
    before, after = to_srgb(source).astype(int), to_srgb(tmp_path / "out" / name)
    assert before.shape == after.shape == ((104, 72, 3) if orientation > 4 else (72, 104, 3))
    assert np.abs(before - after).mean() < 5  # turned the other way it would be above 30
    with Image.open(tmp_path / "out" / name) as image:
        kept = image.getexif()
        assert kept.get(0x0112, 1) == 1 and kept[0x010F].rstrip("\0") == "CameraX"


@pytest.mark.parametrize("form", FORMATS)
def test_metadata_arrive(photos: Fill, run: Run, encoded: Make, exif_block: Make, tmp_path: Path, form: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options: dict[str, Any] = {"exif": b"Exif\0\0" + exif_block(turn=1), "icc_profile": profile}
    if form == "TIFF":
        options["exif"] = Image.Exif()
        options["exif"].load(b"Exif\0\0" + exif_block(turn=1))
    name = NAMES[form]
    photos({name: encoded(form, size=(72, 104), **options)})
    run()
    with Image.open(tmp_path / "out" / name) as image:
        image.load()
        assert image.format == form and image.info["icc_profile"] == profile
        assert image.getexif()[0x010F].rstrip("\0") == "CameraX"
        assert image.getexif().get_ifd(0x8825)[2] == (51, 30, 12)
    run(out=tmp_path / "bare", strip_gps=True)
    with Image.open(tmp_path / "bare" / name) as image:
        assert 0x8825 not in image.getexif() and image.getexif()[0x010F].rstrip("\0") == "CameraX"


@pytest.mark.parametrize(("chroma", "expected"), [("4:2:0", 420), ("4:4:4", 444)])
def test_a_heic_keeps_its_subsampling(
    photos: Fill, run: Run, encoded: Make, tmp_path: Path, chroma: str, expected: int
) -> None:
    photos({"a.heic": encoded("HEIF", size=(72, 104), subsampling=chroma)})
    run()
    with Image.open(tmp_path / "out" / "a.heic") as image:
        assert image.info["chroma"] == expected


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_and_alpha_of_a_heic(photos: Fill, run: Run, encoded: Make, tmp_path: Path, mode: str) -> None:
    photos({"a.heic": encoded("HEIF", mode, size=(72, 104))})
    summary, _ = run()
    with Image.open(tmp_path / "out" / "a.heic") as image:
        assert summary.written == 1 and image.mode == mode


def test_a_heic_of_several_pictures(photos: Fill, run: Run) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("teal", "navy")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "HEIF", save_all=True, append_images=frames[1:])
    photos({"a.heic": buffer.getvalue()})
    assert "--animated first" in run()[1]["a.heic"]["error"]["message"]
    assert run(animated="first")[1]["a.heic"]["reason"] == "only frame 1 of 2"


@pytest.mark.parametrize(
    ("form", "words"),
    [("HEIF", r"pip install 'dadfi-fast\[heif\]'"), ("AVIF", r"pip install --upgrade 'pillow>=11\.3'")],
)
def test_a_codec_that_is_not_installed_is_told(
    encoded: Make, monkeypatch: pytest.MonkeyPatch, form: str, words: str
) -> None:
    data = encoded(form)
    assert recognise(data[:32]) == form

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("no codec")

    def missing() -> None:
        raise PhotoError("HEIC needs another package. Run: pip install 'dadfi-fast[heif]'")

    monkeypatch.setattr(heif, "register", missing)
    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr("PIL.features.check", lambda _name: False)
    with pytest.raises(PhotoError, match=words):
        open_picture(data, max_pixels=10**6)
