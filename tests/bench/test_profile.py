"""Where the time of a photo goes: the stopwatch, the photos, and rows from real runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.bench import profile
from dadfi_fast.bench.photos import gather, pictures
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.faces.detector import choose_detector
from dadfi_fast.images.decode import recognise
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.types import Budget


@pytest.fixture
def bench_setup(toy_generator: GeneratorFile, folder: Path, tmp_path: Path) -> BenchSetup:
    """The usual detector and a generator that costs nothing."""
    detector, _ = choose_detector()
    config = ProtectConfig(
        sources=(str(tmp_path / "in"),), out=tmp_path / "out", no_face="whole", verify=1.0, again=True
    )
    return BenchSetup(config, detector, GeneratorAttack(OnnxRuntime(toy_generator, threads=1), Budget()))


def busy(milliseconds: float) -> None:
    """Keep a core busy."""
    end = time.process_time() + milliseconds / 1000
    while time.process_time() < end:
        pass


def test_a_function_counts_without_those_that_it_calls() -> None:
    watch = profile.Stopwatch()

    def outer() -> int:
        busy(20)
        for _ in range(2):
            watch("inner", lambda: busy(10))
        return 7

    assert watch("outer", outer) == 7
    assert list(watch.spent) == ["inner", "outer"]
    assert watch.spent["inner"] == pytest.approx(20, abs=8) and watch.spent["outer"] == pytest.approx(20, abs=8)


def test_photos_are_enlarged_and_reduced(folder: Path, tmp_path: Path) -> None:
    profile.enlarged(folder, tmp_path / "large", megapixels=0.1, count=2)
    photos = pictures(tmp_path / "large")
    assert len(photos) == 2
    assert [each.shape[0] * each.shape[1] / 1e6 for each in photos] == pytest.approx([0.1, 0.1], rel=0.02)
    assert photos[0].shape[1] / photos[0].shape[0] == pytest.approx(64 / 48, rel=0.02)
    assert all(recognise(path.read_bytes()) == "JPEG" for path in (tmp_path / "large").iterdir())


def test_every_function_and_every_run_has_its_row(bench_setup: BenchSetup, folder: Path, tmp_path: Path) -> None:
    ticks: list[int] = []
    photos = gather(folder, tmp_path / "in", count=3)
    rows = profile.profile(photos, bench_setup, repeats=2, tick=lambda: ticks.append(1))
    assert len(ticks) == 3
    cases = [row.case for row in rows]
    assert tuple(cases[-4:]) == profile.RUNS
    stages = list(dict.fromkeys(case.removeprefix(profile.PREFIX).partition(":")[0] for case in cases[:-4]))
    assert stages == ["read", "decode", "detect", "crop", "perturb", "encode", "blend", "verify", "write"]
    assert {row.n for row in rows[:-4]} == {6} and {row.n for row in rows[-4:]} == {2}
    assert all(row.p50 >= 0 and row.unit == "core-ms/photo" for row in rows)
    inside = sum(row.p50 for row in rows[:-4] if "verify" not in row.case)
    assert profile.rest(rows) == pytest.approx(rows[-3].p50 - inside)
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["00000", "00001", "00002"]
