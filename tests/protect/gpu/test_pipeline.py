"""Photos from the decoder to the encoder in one memory: what a GPU would do, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.backends.torch import Torch
from dadfi_fast.faces import yunet_batch
from dadfi_fast.faces.align import Square
from dadfi_fast.faces.detector import Detector
from dadfi_fast.faces.none import Whole
from dadfi_fast.faces.yunet import YuNet
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.jpeg import read_header, with_metadata
from dadfi_fast.protect import blend as on_processor
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.gpu import stages
from dadfi_fast.protect.gpu.pipeline import on_device, search
from dadfi_fast.types import Budget, Encoding, Face, Metadata, Photo, UInt8

torch = pytest.importorskip("torch", reason="torch is not installed")

Make = Callable[..., bytes]
Smooth = Callable[[int, int], UInt8]
needs_codecs = pytest.mark.extras("dali")


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    "where",
    [
        [Square(10, 5, 40)],
        [Square(-20, -10, 64), Square(60, 50, 30)],  # over the edge
        [Square(10, 10, 40), Square(25, 20, 40)],  # one over the other
        [Square(0, 0, 300)],  # larger than the photo
    ],
)
def test_blended_as_on_the_processor(smooth: Smooth, where: list[Square], grey: bool) -> None:
    from dadfi_fast.protect.gpu.blend import blend

    budget, pixels = Budget(0.05), smooth(90, 110)
    deltas = np.random.default_rng(0).uniform(-0.05, 0.05, (len(where), 3, 32, 32)).astype(np.float32)
    faces = [Face(0, 0, 1, 1, 1.0)] * len(where)
    photo = Photo(Path("x"), pixels.copy(), Encoding("JPEG", "L" if grey else "RGB"))
    expected = on_processor.blend(photo, faces, where, deltas, budget)
    before = torch.from_numpy(pixels.copy())
    result, linf = blend(before, where, torch.from_numpy(deltas), budget, grey=grey)
    assert np.array_equal(before.numpy(), pixels)  # what comes in stays, for another try
    assert np.abs(result.numpy().astype(int) - expected.pixels).max() <= 1
    assert int(linf) == np.abs(result.numpy().astype(int) - pixels).max() <= 6
    assert abs(int(linf) - expected.linf) <= 1


@pytest.fixture
def resident(monkeypatch: pytest.MonkeyPatch) -> GeneratorAttack:
    """The generator on torch, and a front that keeps photos on its device, which is the CPU."""
    monkeypatch.setattr(stages, "stays_on_card", lambda backend, device: True)
    return GeneratorAttack(Torch(load_generator_file(), device="cpu", threads=1), Budget(0.05))


def tree(encoded: Make, exif_block: Make) -> dict[str, bytes]:
    """Photos of all kinds."""
    return {
        "a.jpg": encoded(size=(200, 260), quality=90, subsampling="4:2:0"),
        "b-turned.jpg": with_metadata(encoded(size=(190, 240), quality=85), Metadata(exif=exif_block(turn=6))),
        "c-grey.jpg": encoded("JPEG", "L", size=(200, 200), quality=92),
        "d.png": encoded("PNG", "RGBA"),
        "e-cut.jpg": encoded(size=(200, 200))[:-90],
        "f-progressive.jpg": encoded(size=(220, 200), progressive=True),
        "g-tables.jpg": encoded(size=(160, 200), qtables=[[7] * 64, [9] * 64]),
        "i-film.jpg": encoded(size=(120, 110)) + b"\0\0\0\x18ftypmp42" + bytes(500),
        "h-444.jpg": encoded(size=(161, 203), quality=95, subsampling="4:4:4"),
    }


@needs_codecs
def test_a_run(photos: Any, run: Any, encoded: Make, exif_block: Make, resident: Any, tmp_path: Path) -> None:
    files = tree(encoded, exif_block)
    photos(files)
    options = {"attack": resident, "detector": Whole(), "verify": 1.0}
    _, expected = run(out=tmp_path / "cpu", **options)
    summary, rows = run(out=tmp_path / "dali", decoder="dali", **options)
    assert (summary.written, summary.failed) == (8, 1)
    assert list(rows) == sorted(files) and rows["e-cut.jpg"]["error"]["hop"] == "decode"
    for name in set(files) - {"e-cut.jpg"}:
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("cpu", "dali"))
        first, second = (decode(open_picture(data, max_pixels=10**6), Path(name)) for data in (one, two))
        assert [rows[name].get(k) for k in ("faces", "notes")] == [expected[name].get(k) for k in ("faces", "notes")]
        assert first.metadata == second.metadata and first.pixels.shape == second.pixels.shape
        assert first.encoding == second.encoding  # the same tables and subsampling
        apart = np.abs(first.pixels.astype(int) - second.pixels)
        assert apart.mean() < 1.5, name  # another encoder's roundings
        assert rows[name]["linf"] <= 6 and rows[name]["written"]["psnr"] > 30
    assert b"ftyp" not in (tmp_path / "dali" / "i-film.jpg").read_bytes()
    assert read_header((tmp_path / "dali" / "g-tables.jpg").read_bytes()).tables[0] == (7,) * 64


@needs_codecs
def test_pixels_without_an_encoder(photos: Any, run: Any, examples: Path, resident: Any, tmp_path: Path) -> None:
    photos(
        {
            f"{name}.jpg": (examples / f"{photo}.jpg").read_bytes()
            for name, photo in (("a", "portrait"), ("b", "rotated"))
        }
    )
    for name in ("cpu", "dali"):
        run(out=tmp_path / name, attack=resident, detector=Whole(), decoder=name, format="png")
    for name in ("a.png", "b.png"):
        one, two = (
            decode(open_picture((tmp_path / folder / name).read_bytes(), max_pixels=10**6), Path(name)).pixels
            for folder in ("cpu", "dali")
        )
        apart = np.abs(one.astype(int) - two)
        assert (apart > 1).mean() < 1e-3 and apart.mean() < 0.05


@needs_codecs
@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"no_face": "copy"}, "copied"),
        ({"no_face": "skip"}, "skipped"),
        ({"no_face": "whole"}, "written"),
        ({"no_face": "copy", "format": "png"}, "copied"),
        ({"no_face": "whole", "format": "png"}, "written"),
    ],
)
def test_photos_without_a_face(
    photos: Any, run: Any, encoded: Make, nobody: Any, resident: Any, tmp_path: Path, options: Any, status: str
) -> None:
    photos({"a.jpg": encoded(size=(64, 80)), "b.jpg": encoded(size=(70, 64))})
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    _, rows = run(attack=resident, detector=nobody, decoder="dali", **options)
    assert [row["status"] for row in rows.values()] == [status] * 2
    if status == "copied" and "format" not in options:
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.jpg")} == before
    elif status != "skipped" and "format" in options:
        assert decode(open_picture((tmp_path / "out/a.png").read_bytes(), max_pixels=10**6), Path("a")).pixels.any()


@needs_codecs
def test_one_photo_that_fails_costs_itself_alone(
    photos: Any, run: Any, encoded: Make, resident: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dadfi_fast.protect.gpu import pipeline as module

    photos({f"{n}.jpg": encoded(size=(60 + n, 64)) for n in range(5)})
    cut = module.cut

    def fragile(pixels: Any, where: Square) -> Any:
        if pixels.shape[0] == 62:
            raise RuntimeError("out of memory, say")
        return cut(pixels, where)

    monkeypatch.setattr(module, "cut", fragile)
    _, rows = run(attack=resident, detector=Whole(), decoder="dali")
    assert [row["status"] for row in rows.values()] == ["written", "written", "failed", "written", "written"]
    assert rows["2.jpg"]["error"]["message"] == "out of memory, say"


@needs_codecs
@pytest.mark.parametrize(("no_face", "alone"), [("copy", "copied"), ("skip", "skipped")])
def test_a_photo_without_a_face_beside_one_that_fails(
    photos: Any, run: Any, encoded: Make, resident: Any, monkeypatch: pytest.MonkeyPatch, no_face: str, alone: str
) -> None:
    from dadfi_fast.protect.gpu import pipeline as module

    class Wide(Whole):
        """Finds a face in wide photos alone."""

        def search(self, height: int, width: int, small: Any) -> list[Face]:
            return [Face(0, 0, width, height, 0.9)] if width > height else []

    photos({f"{n}.jpg": encoded(size=(60 + n, 64)) for n in range(8)})
    tried: list[int] = []

    def fragile(pixels: Any, where: Square) -> Any:
        tried.append(pixels.shape[0])
        if pixels.shape[0] == 62:
            raise RuntimeError("out of memory, say")
        return cut(pixels, where)

    cut = module.cut
    monkeypatch.setattr(module, "cut", fragile)
    _, rows = run(attack=resident, detector=Wide(), decoder="dali", no_face=no_face)
    assert [row["status"] for row in rows.values()] == ["written", "written", "failed", "written"] + [alone] * 4
    assert [len(row["faces"]) for row in rows.values()] == [1, 1, 0, 1, 0, 0, 0, 0]
    assert tried == [60, 61, 62, 60, 61, 62, 63]  # together, then each on its own


@needs_codecs
def test_dali_s_own_tensors_are_taken_without_a_copy(smooth: Smooth) -> None:
    """As they come from a GPU; here they lie on the CPU."""
    from nvidia.dali.tensors import TensorCPU

    pixels = smooth(20, 30)
    tensor = TensorCPU(pixels, "HWC")
    view = on_device(tensor)
    assert view.data_ptr() == tensor.data_ptr() and np.array_equal(view.numpy(), pixels)


@pytest.mark.parametrize(
    ("width", "height", "goes"),
    [(8000, 6000, True), (10_000, 5000, True), (10_000, 5001, False), (10_001, 100, False), (100, 20_000, False)],
)
def test_the_card_gets_no_larger_photo_than_it_has_room_for(encoded: Make, width: int, height: int, goes: bool) -> None:
    from dadfi_fast.protect.gpu.pipeline import fits
    from dadfi_fast.protect.job import PhotoJob
    from dadfi_fast.protect.results import Entry

    data = encoded()
    at = data.index(b"\xff\xc0") + 5
    data = data[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[at + 4 :]
    entry = Entry(Path("x"), "x", "x", len(data), 0)
    assert fits(PhotoJob(entry, data=data, decoder=open_picture(data, max_pixels=10**9))) is goes
    assert not fits(PhotoJob(entry))


def yunet(monkeypatch: pytest.MonkeyPatch, *, why: str | None) -> Detector:
    """A YuNet without a network, and why it cannot search on a card."""
    monkeypatch.setattr(yunet_batch, "missing", lambda device: why)
    detector = YuNet.__new__(YuNet)
    detector.model = Path("yunet.onnx")
    return detector


def test_what_is_said_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(device: str, backend: type[Backend], detector: Detector, **options: Any) -> str:
        config = ProtectConfig(sources=("in",), out=Path("out"), decoder="dali", device=device, **options)
        return stages.describe(config, backend, detector)

    assert said("cpu", Torch, Whole()) == "JPEGs decoded by dali on cpu"
    fetched = "JPEGs decoded by dali on cuda, and fetched, as backend onnxruntime takes no others"
    assert said("cuda", OnnxRuntime, Whole()) == fetched
    stay = "JPEGs decoded by dali on cuda:1, where they stay; faces found on "
    assert said("cuda:1", Torch, Whole()) == f"{stay}cpu, as none runs on CPUs only"
    assert said("cuda:1", Torch, yunet(monkeypatch, why="it is not there")) == f"{stay}cpu, as it is not there"
    assert said("cuda:1", Torch, yunet(monkeypatch, why=None)) == f"{stay}cuda:1"
    fetched = "JPEGs decoded by dali on cuda, and fetched, as --strength auto chooses on the CPU"
    assert said("cuda", Torch, Whole(), strength="auto", judges=("a",)) == fetched


@pytest.mark.parametrize("why", [None, "it is not there"])
def test_faces_are_searched_where_they_can_be(monkeypatch: pytest.MonkeyPatch, smooth: Smooth, why: str | None) -> None:
    detector, batched, copies = yunet(monkeypatch, why=why), [], []

    def large(pictures: list[torch.Tensor]) -> list[list[Face]]:
        return [[Face(0, 0, 90, 90, 0.9)] for _ in pictures]

    monkeypatch.setattr(yunet_batch, "YuNetBatch", lambda model, device: batched.append((model, device)) or large)
    monkeypatch.setattr(YuNet, "find", lambda self, pixels: copies.append(pixels.shape) or [])
    faces = search(detector, "cpu" if why is None else "cuda")([torch.from_numpy(smooth(90, 200))])
    assert len(faces) == 1
    assert bool(batched) is (why is None)
    assert copies == ([] if why is None else [(72, 160, 3), (90, 200, 3)])


@pytest.mark.parametrize(("small_faces", "wanted"), [("auto", True), ("never", False)])
def test_small_faces_are_searched_in_copies_after_a_batch(
    monkeypatch: pytest.MonkeyPatch, smooth: Smooth, small_faces: str, wanted: bool
) -> None:
    """The batch finds a face of 300 px and a portrait; another face of the first picture shows in the second tile."""
    detector, copies = yunet(monkeypatch, why=None), []
    detector.small_faces = small_faces
    faces = [[Face(1000, 100, 1300, 400, 0.9)], [Face(0, 0, 600, 600, 0.9)]]

    def find(pixels: UInt8) -> list[Face]:
        copies.append(pixels.shape)
        return [Face(12, 24, 36, 54, 0.8)] if len(copies) == 2 else []

    monkeypatch.setattr(
        yunet_batch, "YuNetBatch", lambda model, device: lambda pictures: [list(each) for each in faces]
    )
    monkeypatch.setattr(YuNet, "find", lambda self, pixels: find(pixels))
    pictures = [torch.from_numpy(smooth(height, width)) for height, width in ((1600, 2500), (700, 900))]
    group, portrait = search(detector, "cpu")(pictures)
    assert portrait == faces[1]
    assert copies == ([(960, 960, 3), (960, 960, 3)] if wanted else [])
    assert group == [*faces[0], *([Face(920, 40, 960, 90, 0.8)] if wanted else [])]


@pytest.mark.gpu
@needs_codecs
def test_on_a_gpu(photos: Any, run: Any, examples: Path, tmp_path: Path) -> None:
    """Has never run."""
    photos({f"{name}.jpg": (examples / f"{name}.jpg").read_bytes() for name in ("portrait", "rotated", "group")})
    attack = GeneratorAttack(Torch(load_generator_file(), device="cuda", precision="f32"), Budget(0.05))
    for name, device in (("cpu", "cpu"), ("dali", "cuda")):
        run(out=tmp_path / name, attack=attack, detector=Whole(), decoder=name, device=device, format="png")
    for path in (tmp_path / "cpu").glob("*.png"):
        one, two = (
            decode(open_picture(file.read_bytes(), max_pixels=10**7), path).pixels
            for file in (path, tmp_path / "dali" / path.name)
        )
        assert np.abs(one.astype(int) - two).mean() < 0.1
