"""What real folders hold: damaged, odd and hostile files, and disks that do not take any more."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from dadfi_fast.errors import DiskError

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]


def sixteen(channels: int) -> bytes:
    """A PNG of 16 bits a channel."""
    stored = np.random.default_rng(0).integers(0, 2**16, (60, 80, channels), dtype=np.uint16)
    return cv2.imencode(".png", stored)[1].tobytes()


def bomb() -> bytes:
    """A PNG of a few bytes that says that it has ten thousand million pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return head + b"\0\0\0\x40IDAT" + bytes(68)


def test_a_folder_of_all_kinds(photos: Fill, run: Run, encoded: Make, tmp_path: Path) -> None:
    good = encoded(size=(60, 80))
    corrupt = bytearray(good)
    scan = good.index(b"\xff\xda") + 60
    corrupt[scan : scan + 8] = b"\xff\xd9\xff\xd8\xff\xc0\0\0"
    photos(
        {
            "good.jpg": good,
            "corrupt.jpg": bytes(corrupt),
            "truncated.jpg": good[:-200],
            "empty.jpg": b"",
            "text.jpg": b"Dear diary, today I renamed a file.",
            "jpeg.png": good,
            "16-bit.png": sixteen(3),
            "16-bit-alpha.png": sixteen(4),
            "16-bit-grey.png": sixteen(1),
            "cmyk.jpg": encoded("JPEG", "CMYK"),
            "1x1.jpg": encoded(size=(1, 1)),
            "1x1.png": encoded("PNG", "RGBA", size=(1, 1)),
            "bomb.png": bomb(),
            "palette.png": encoded("PNG", "P"),
            "still.gif": encoded("GIF", "P"),
            "grey.jpg": encoded("JPEG", "L"),
            "notes.txt": b"no picture",
            "film.mp4": b"\0\0\0\x18ftypisom" + bytes(100),
            "Thumbs.db": b"junk",
        }
    )
    summary, rows = run(verify=1.0)
    errors = {name: row["error"]["message"] for name, row in rows.items() if row["status"] == "failed"}
    words = {
        "corrupt.jpg": "the JPEG is damaged",
        "truncated.jpg": "the JPEG is damaged",
        "empty.jpg": "the file is empty",
        "text.jpg": "not a supported image file (despite its extension)",
        "bomb.png": "100000x100000 pixels exceed --max-pixels 200000000",
    }
    assert errors.keys() == words.keys()
    assert all(words[name] in message for name, message in errors.items())
    skipped = {name for name, row in rows.items() if row["status"] == "skipped"}
    assert skipped == {"notes.txt", "film.mp4"} and "Thumbs.db" not in rows
    written = {name: row for name, row in rows.items() if row["status"] == "written"}
    assert len(written) == summary.written == 11 and summary.failed == 5
    assert all(row["linf"] <= 6 for row in written.values())
    lossless = [row["written"]["linf"] for row in written.values() if row["target"].endswith("png")]
    assert max(lossless) <= 6 or rows["jpeg.png"]["written"]["linf"] == max(lossless)
    kinds = {name: kind(tmp_path / "out" / row["target"]) for name, row in written.items()}
    assert kinds["jpeg.png"] == ("JPEG", "RGB") and rows["jpeg.png"]["target"] == "jpeg.png"
    assert kinds["16-bit-grey.png"] == ("PNG", "I;16") and kinds["cmyk.jpg"] == ("JPEG", "RGB")
    assert kinds["grey.jpg"] == ("JPEG", "L") and kinds["still.gif"] == ("PNG", "RGB")
    for name in ("16-bit.png", "16-bit-alpha.png", "16-bit-grey.png"):
        read = cv2.imread(str(tmp_path / "out" / name), cv2.IMREAD_UNCHANGED)
        assert read is not None and read.dtype == np.uint16


def kind(path: Path) -> tuple[str | None, str]:
    """Format and mode, as Pillow sees them."""
    with Image.open(path) as image:
        return image.format, image.mode


@pytest.mark.parametrize("policy", ["refuse", "first"])
def test_animations(photos: Fill, run: Run, tmp_path: Path, policy: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("#802020", "#202080", "#208020")]
    for name in ("a.gif", "a.webp", "a.png"):
        (photos({}) / name).parent.mkdir(exist_ok=True)
        frames[0].save(tmp_path / "in" / name, save_all=True, append_images=frames[1:], lossless=True)
    summary, rows = run(animated=policy)
    if policy == "refuse":
        assert summary.failed == 3 and list((tmp_path / "out").glob("a*")) == []
        assert all("--animated first" in row["error"]["message"] for row in rows.values())
        return
    assert summary.written == 3
    assert {row["reason"] for row in rows.values()} == {"only frame 1 of 3"}
    assert {row["target"] for row in rows.values()} == {"a-2.png", "a.png", "a.webp"}
    for path in (tmp_path / "out").glob("a*"):
        with Image.open(path) as image:
            assert getattr(image, "n_frames", 1) == 1
            difference = np.abs(np.asarray(image.convert("RGB")).astype(int) - (128, 32, 32)).max()
            assert difference <= (12 if path.suffix == ".webp" else 6)  # an animated WebP becomes a lossy one


def test_a_gif_without_a_face_is_what_its_new_name_says(
    photos: Fill, run: Run, nobody: Any, encoded: Make, tmp_path: Path
) -> None:
    photos({"a.gif": encoded("GIF", "P")})
    _, rows = run(detector=nobody)
    assert rows["a.gif"]["status"] == "copied" and kind(tmp_path / "out" / "a.png") == ("PNG", "RGB")


def test_a_source_that_vanishes_is_a_row(photos: Fill, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    photos({"a.jpg": None, "b.jpg": None})
    open_ = Path.open

    def gone(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "a.jpg" and path.parent.name == "in":
            raise FileNotFoundError(2, "No such file or directory")
        return open_(path, *args, **options)

    monkeypatch.setattr(Path, "open", gone)
    summary, rows = run()
    assert (summary.written, summary.failed) == (1, 1)
    assert rows["a.jpg"]["error"]["hop"] == "read"


def test_a_detector_that_breaks_is_a_row(photos: Fill, run: Run, nobody: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    photos({"a.jpg": None})
    monkeypatch.setattr(type(nobody), "search", lambda *_: 1 / 0)
    summary, rows = run(detector=nobody)
    assert summary.failed == 1
    assert rows["a.jpg"]["error"] == {"hop": "detect", "type": "ZeroDivisionError", "message": "division by zero"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk in memory with options of mount; skips where that is not allowed (by any but root).

    The same errors raised by hand are tested everywhere, in test_write.py and test_pipeline.py.
    """
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        path = tmp_path / "disk"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


def test_a_read_only_disk_is_told_at_once(photos: Fill, run: Run, small_disk: Callable[[str], Path]) -> None:
    photos({"a.jpg": None})
    with pytest.raises(DiskError, match="read-only"):
        run(out=small_disk("ro,size=1m") / "out")


def test_a_full_disk(photos: Fill, run: Run, encoded: Make, small_disk: Callable[[str], Path]) -> None:
    photos({f"{n:02}.jpg": encoded(size=(200, 200), quality=100) for n in range(40)})
    out = small_disk("size=512k")
    with pytest.raises(DiskError, match="the disk is full"):
        run(out=out)
    pictures = [path for path in out.iterdir() if path.suffix == ".jpg"]
    assert 0 < len(pictures) < 40 and not list(out.glob(".dadfi-*"))
    for path in pictures:
        with Image.open(path) as image:
            image.load()
    subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
    summary, rows = run(out=out)
    assert summary.done == len(pictures) and len(rows) == 40 == len(list(out.glob("*.jpg")))


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind root, or Windows")
def test_a_folder_without_permission(photos: Fill, run: Run, tmp_path: Path) -> None:
    photos({"a.jpg": None})
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(DiskError, match="no permission"):
        run(out=tmp_path / "locked" / "out")
