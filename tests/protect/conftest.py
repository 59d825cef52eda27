"""A folder of photos, an attack and a detector that cost nothing, and a run of protect with them."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.attacks.base import Attack
from dadfi_fast.faces.detector import Detector
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.manifest import NAME, Facts
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.pipeline import protect
from dadfi_fast.protect.places import Place
from dadfi_fast.protect.summary import Summary
from dadfi_fast.types import Budget, Face, Float32, UInt8


class Stripes(Attack):
    """The whole budget, up and down, in stripes."""

    def run(self, crops: Float32) -> Float32:
        sign = np.where(np.arange(crops.shape[-1]) // 4 % 2, 1, -1)
        return np.broadcast_to((self.budget.eps * sign).astype(np.float32), crops.shape).copy()


class Boxes(Detector):
    """Finds the same boxes, given as shares of the picture, in every picture."""

    name = "boxes"

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.boxes = boxes

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        return None

    def find(self, pixels: UInt8) -> list[Face]:
        h, w = pixels.shape[:2]
        return [Face(x0 * w, y0 * h, x1 * w, y1 * h, 0.9) for x0, y0, x1, y1 in self.boxes]

    def __call__(self, pixels: UInt8) -> list[Face]:
        return self.find(pixels)


MIDDLE = Boxes((0.3, 0.3, 0.7, 0.7))


@pytest.fixture
def encoded(smooth: Callable[[int, int], UInt8]) -> Callable[..., bytes]:
    """Makes a picture file of height x width in a Pillow format and mode, with options for `Image.save`."""

    def make(form: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (48, 64), **options: Any) -> bytes:
        image = Image.fromarray(smooth(*size)).convert(mode)
        if mode.endswith("A"):
            image.putalpha(Image.fromarray(255 - smooth(*size)[..., 0]))
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def photos(tmp_path: Path, encoded: Callable[..., bytes]) -> Callable[..., Path]:
    """Makes the folder ``in`` with the files given as name -> content; None stands for a small JPEG."""

    def fill(files: dict[str, bytes | None]) -> Path:
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded() if content is None else content)
        return folder

    return fill


Run = Callable[..., tuple[Summary, dict[str, dict[str, Any]]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Protects ``in`` into ``out``; gives the summary and the manifest's rows by source."""

    def go(
        *sources: Place,
        out: Place | None = None,
        detector: Detector = MIDDLE,
        attack: Attack | None = None,
        generator: str = "toy",
        only: Callable[[Any], bool] = lambda _: True,
        meter: Meter | None = None,
        **options: Any,
    ) -> tuple[Summary, dict[str, dict[str, Any]]]:
        named = tuple(str(source) for source in sources or (tmp_path / "in",))
        options.setdefault("workers", 2)
        config = ProtectConfig(sources=named, out=out or tmp_path / "out", detector=detector.name, **options)
        made = attack or Stripes(Budget(config.strength))
        facts = Facts(config.fingerprint, generator, "toy: for tests")
        summary = protect(config, detector=detector, attack=made, facts=facts, only=only, meter=meter)
        return summary, {row["source"]: row for row in rows(config.out)}

    return go


def rows(out: Place) -> list[dict[str, Any]]:
    """The manifest's rows."""
    return [json.loads(line) for line in (out / NAME).read_bytes().splitlines()]


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of an empty folder in memory."""
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    from fsspec.implementations.memory import MemoryFileSystem

    def clear() -> None:
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]

    clear()
    yield "memory:///shop"
    clear()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine, which the environment names; gone at the end."""
    for name in ("moto", "flask", "s3fs"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str) -> Iterator[str]:
    """The URL of an empty bucket."""
    import s3fs

    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.mkdir("bucket")
    yield "s3://bucket"
    system.rm("bucket", recursive=True)


#: Stands for a camera maker's notes, which point to places in the block.
_MAKER = b"MAKERNOTE-with-offsets-of-its-own"


@pytest.fixture(scope="session")
def exif_block() -> Callable[..., bytes]:
    """Makes an EXIF block; see `_block`."""
    return _block


def _block(*, turn: int | None = 6, gps: bool = True, preview: bytes = b"", order: str = "<") -> bytes:
    """An EXIF block of IFD0 (make, orientation, GPS, MakerNote-like value) and, with a preview, IFD1."""
    p = struct.Struct
    entries: list[tuple[int, int, int, bytes]] = [(0x010F, 2, 8, b"CameraX\0")]
    if turn is not None:
        entries.append((0x0112, 3, 1, p(order + "HH").pack(turn, 0)))
    entries.append((0x927C, 7, len(_MAKER), _MAKER))
    if gps:
        entries.append((0x8825, 4, 1, b"GPS!"))
    first = 8 + 2 + 12 * len(entries) + 4
    heap, table = b"", b""
    for tag, kind, count, value in entries:
        if tag == 0x8825:
            at = first + len(heap)
            latitude = p(order + "6I").pack(51, 1, 30, 1, 12, 1)
            directory = p(order + "H").pack(1) + p(order + "HHII").pack(2, 5, 3, at + 18) + bytes(4)
            heap += directory + latitude
            value = p(order + "I").pack(at)
        elif len(value) > 4:
            value, heap = p(order + "I").pack(first + len(heap)), heap + value
        table += p(order + "HHI").pack(tag, kind, count) + value
    link = 0
    if preview:
        link = first + len(heap)
        at = link + 2 + 24 + 4
        heap += p(order + "H").pack(2) + p(order + "HHII").pack(0x0201, 4, 1, at)
        heap += p(order + "HHII").pack(0x0202, 4, 1, len(preview)) + bytes(4) + preview
    header = (b"II*\0" if order == "<" else b"MM\0*") + p(order + "I").pack(8)
    return header + p(order + "H").pack(len(entries)) + table + p(order + "I").pack(link) + heap


@pytest.fixture
def nobody() -> Detector:
    """Finds no face."""
    return Boxes()


@pytest.fixture
def stripes() -> Callable[..., Attack]:
    """Makes a `Stripes` attack that calls ``during(number of the call)`` in every call."""

    class Told(Stripes):
        def __init__(self, during: Callable[[int], object]) -> None:
            super().__init__(Budget())
            self.during, self.calls = during, 0

        def run(self, crops: Float32) -> Float32:
            self.calls += 1
            self.during(self.calls)
            return super().run(crops)

    return Told
