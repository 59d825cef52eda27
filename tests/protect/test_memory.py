"""Memory: a photo that would take more than ``--max-memory`` fails before it is decoded, and the others go on."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dadfi_fast.device import available_memory
from dadfi_fast.errors import UsageError
from dadfi_fast.faces.detector import Detector
from dadfi_fast.files import sha256
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.types import Face, UInt8
from tests.protect.conftest import Boxes, Run


def bomb(side: int, *, bits: int = 8) -> bytes:
    """A PNG of many pixels and few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    line = bytes(1 + 3 * side * bits // 8)
    rows = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("side", "bits", "max_memory", "status"),
    [
        (1000, 8, 64 << 20, "written"),
        (1000, 8, 16 << 20, "failed"),
        (1000, 16, 24 << 20, "failed"),  # 8 bits would fit
        (1000, 8, 24 << 20, "written"),
        (4000, 8, 64 << 20, "failed"),
    ],
)
def test_a_photo_without_room_fails(
    side: int, bits: int, max_memory: int, status: str, photos: Callable[..., Path], run: Run
) -> None:
    photos({"a.png": bomb(side, bits=bits), "b.jpg": None})
    _, rows = run(max_memory=max_memory)
    assert (rows["a.png"]["status"], rows["b.jpg"]["status"]) == (status, "written")
    if status == "failed":
        assert "--max-memory" in rows["a.png"]["error"]["message"] and rows["a.png"]["error"]["hop"] == "read"


@pytest.mark.parametrize(
    ("options", "status"), [({"no_face": "whole"}, "failed"), ({}, "copied"), ({"no_face": "skip"}, "skipped")]
)
def test_a_strip_that_counts_as_one_face_takes_the_room_of_a_square(
    options: dict[str, str], status: str, photos: Callable[..., Path], run: Run, nobody: Detector
) -> None:
    strip = io.BytesIO()
    Image.new("RGB", (9000, 16)).save(strip, "PNG")  # 0.1 million pixels; a square of 81 million
    photos({"a.png": strip.getvalue(), "b.jpg": None})
    _, rows = run(max_memory=256 << 20, detector=nobody, **options)
    assert (rows["a.png"]["status"], rows["b.jpg"]["status"]) == (status, status.replace("failed", "written"))
    assert "--max-memory" in str(rows["a.png"]["error"]) or status != "failed"


def test_what_is_available_is_believable() -> None:
    assert 64 << 20 < available_memory() < 1 << 46


def test_none_is_half_of_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dadfi_fast.protect.config.available_memory", lambda: 1000)
    config = ProtectConfig(sources=("a",), out=Path("b"))
    assert config.memory == 500
    monkeypatch.undo()
    assert config.memory == 500  # at the start


def test_no_memory_is_out_of_range() -> None:
    with pytest.raises(UsageError, match="--max-memory"):
        ProtectConfig(sources=("a",), out=Path("b"), max_memory=0)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"strip_gps": True}, {"format": "png"}], ids=["as it is", "no place", "png"])
@pytest.mark.parametrize("face", [True, False], ids=["a face", "no face"])
def test_what_stands_behind_a_picture_is_never_in_memory(
    form: str, options: dict[str, object], face: bool, photos: Callable[..., Path], run: Run, nobody: Detector
) -> None:
    behind = 64 << 20
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 80, 70)).save(buffer, form)
    names = ["a", "b", "c"]
    folder = photos(dict.fromkeys(names, buffer.getvalue()))
    for name in names:
        os.truncate(folder / name, len(buffer.getvalue()) + behind - 1)
        with (folder / name).open("ab") as file:
            file.write(b"x")
    tracemalloc.start()
    try:
        _, rows = run(**options, **({} if face else {"detector": nobody}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20
    whole = not face and (not options or (options == {"format": "png"} and form == "PNG"))
    for name, row in rows.items():
        target = folder.parent / "out" / row["target"]
        assert row["status"] == ("written" if face else "copied")
        assert sha256(target) == row["sha256_target"] and sha256(folder / name) == row["sha256_source"]
        assert (target.stat().st_size == len(buffer.getvalue()) + behind) == whole
        assert (f"dropped trailing data ({behind / 1e6:.1f} MB)" in (row["reason"] or "")) != whole


def test_a_copied_animation_keeps_what_stands_behind_it(
    photos: Callable[..., Path], run: Run, nobody: Detector
) -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("navy", "gold")]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    whole = buffer.getvalue() + bytes(17 << 20) + b"x"
    folder = photos({"a.webp": whole})
    _, rows = run(detector=nobody, animated="first")
    target = folder.parent / "out" / rows["a.webp"]["target"]
    assert target.read_bytes() == whole and sha256(target) == rows["a.webp"]["sha256_target"]
    assert "1 further frames" in rows["a.webp"]["reason"]


def test_a_file_that_changes_while_its_end_is_copied_fails(
    photos: Callable[..., Path], run: Run, encoded: Callable[..., bytes], tmp_path: Path
) -> None:
    photo = photos({"a.jpg": encoded() + bytes(20 << 20) + b"x", "b.jpg": None}) / "a.jpg"

    class Changing(Boxes):
        def find(self, pixels: UInt8) -> list[Face]:
            with photo.open("ab") as file:
                file.write(b"more")
            return []

    _, rows = run(detector=Changing())
    assert rows["a.jpg"]["status"] == "failed" and "changed while it was" in rows["a.jpg"]["error"]["message"]
    assert rows["b.jpg"]["status"] == "copied"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.jpg", "dadfi-manifest.jsonl"]
