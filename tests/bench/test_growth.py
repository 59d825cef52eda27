"""How costs grow: the lines, the pictures, and rows from real ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.bench import growth
from dadfi_fast.bench.photos import pictures
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.errors import NothingToDo
from dadfi_fast.faces.detector import choose_detector
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.types import Budget, UInt8


@pytest.fixture
def bench_setup(toy_generator: GeneratorFile, tmp_path: Path) -> BenchSetup:
    """The usual detector and a generator that costs nothing."""
    detector, _ = choose_detector()
    config = ProtectConfig(sources=("in",), out=tmp_path / "out", no_face="whole", verify=0.0)
    return BenchSetup(config, detector, GeneratorAttack(OnnxRuntime(toy_generator, threads=1), Budget()))


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> list[UInt8]:
    """Two of the examples."""
    folder = tmp_path_factory.mktemp("portraits")
    for name in ("cutout.png", "portrait.jpg"):
        shutil.copy(Path(__file__).resolve().parents[2] / "examples" / "photos" / name, folder)
    return pictures(folder)


@pytest.fixture
def face(portraits: list[UInt8], bench_setup: BenchSetup) -> UInt8:
    """The larger face of the two."""
    return growth.portrait(portraits, bench_setup.detector)


def row(name: str, x: float, y: float) -> dict[str, Any]:
    """As JSON has it."""
    return {"case": f"cost by {name}", "config": {name: x}, "p50": y}


def test_the_line_through_points_on_a_line() -> None:
    rows = [row("faces", x, 7 + 3 * x) for x in (8, 1, 2)] + [row("megapixels", 1, 1e6)]
    line = growth.fit(rows, "faces")
    assert (line.base, line.slope) == (pytest.approx(7), pytest.approx(3))


def test_errors_count_relative_to_the_cost() -> None:
    rows = [row("faces", x, y) for x, y in ((0, 10), (10, 20), (500, 700), (1000, 800))]
    assert growth.fit(rows, "faces").base == pytest.approx(10, abs=1)  # 65 where all errors weigh alike


def test_the_portrait_is_the_largest_face(face: UInt8, bench_setup: BenchSetup) -> None:
    (box,) = bench_setup.detector(face)
    assert max(box.width, box.height) / max(face.shape) == pytest.approx(1 / growth.MARGIN, rel=0.2)
    with pytest.raises(NothingToDo, match="no face"):
        growth.portrait([np.zeros((50, 50, 3), np.uint8)], bench_setup.detector)


def test_rows_by_megapixels(
    face: UInt8, bench_setup: BenchSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(growth.OVER, "megapixels", (0.1, 1))  # type: ignore[index]
    small, large = growth.by_megapixels(face, bench_setup, tmp_path / "s", repeats=2)
    assert (small.n, small.unit, small.config["faces_found"]) == (2, "core-ms/photo", 1)
    assert 0 < small.p50 < large.p50 and small.config["kilobytes"] < large.config["kilobytes"]


@pytest.mark.slow
def test_rows_by_faces(face: UInt8, bench_setup: BenchSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(growth.OVER, "faces", (3, 16))  # type: ignore[index]
    results = list(growth.by_faces(face, bench_setup, tmp_path / "s", repeats=1))
    assert [(each.config["faces"], each.config["faces_found"]) for each in results] == [(3, 3), (16, 16)]


@pytest.mark.slow
def test_rows_by_photos(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(growth.OVER, "photos", (2, 4))  # type: ignore[index]
    ticks: list[None] = []
    results = list(growth.by_photos(examples, tmp_path / "s", repeats=1, tick=lambda: ticks.append(None)))
    assert [each.config["photos"] for each in results] == [2, 4] and len(ticks) == 2
    assert all(each.p50 > 100 and each.config["clock_seconds"] > 0 for each in results)


def test_the_plot(tmp_path: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="plots want the extra evaluate").Figure()
    growth.draw([row(name, x, 5 + x) for name in ("megapixels", "photos") for x in (1, 2, 3)], figure)
    assert [axes.get_xlabel() for axes in figure.axes] == ["megapixels", "photos"]
