"""The benchmark from end to end, on a toy generator and small photos."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec as spec
from pathlib import Path

import numpy as np
import pytest

from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.bench import generator, stages, worker_pools
from dadfi_fast.bench.generator import ComparedBackends, compared_backends, largest_difference
from dadfi_fast.bench.throughput import Throughput, ThroughputSetup, prepare
from dadfi_fast.bench.timing import Case
from dadfi_fast.errors import BackendMissing
from dadfi_fast.protect.assembly import Assembly
from dadfi_fast.types import Float32


class Constant(Backend):
    """Puts out one value everywhere."""

    name = "constant"

    @classmethod
    def missing(cls) -> str | None:
        return None

    def run(self, crops: Float32) -> Float32:
        return np.full_like(crops, self.value)


def constant(generator_file: GeneratorFile, name: str, value: float) -> Constant:
    backend = Constant(generator_file)
    backend.name, backend.describe, backend.value = name, f"{name}-cpu", value  # type: ignore[misc, attr-defined]
    return backend


@pytest.fixture
def setup(folder: Path, toy_generator: GeneratorFile) -> ThroughputSetup:
    parts = Assembly(generator=toy_generator, device="cpu", detector="none")
    return ThroughputSetup(photos=folder, parts=parts, count=4, workers=1)


def test_every_case_has_its_row(setup: ThroughputSetup, tmp_path: Path) -> None:
    ticks: list[None] = []
    with prepare(setup, tmp_path / "scratch") as bench:
        rows = bench.run(repeats=2, tick=lambda: ticks.append(None))
    names = [row.case for row in rows]
    whole = ["memory", "copy", "disk", "cmua", "pillow", *(f"stage {stage}" for stage in stages.STAGES)]
    assert [name for name in names if name in whole] == whole
    assert [name for name in names if name.endswith(("pillow", "cmua", "copy")) and "/" in name] == [
        "disk / copy",
        "disk / pillow",
        "disk / cmua",
        "memory / copy",
    ]
    by_name = {row.case: row for row in rows}
    overlap, slowest_alone = (
        by_name[f"time: disk / {name}"] for name in ("the sum of the stages", "the slowest stage")
    )
    assert 0 < overlap.p50 < slowest_alone.p50 and overlap.unit == "ratio"
    assert all(row.n == 2 and 0 < row.p20 <= row.p50 <= row.p80 for row in rows)
    assert len(ticks) == 3 * len(bench.cases)
    shares = [row.config["share"] for row in rows if row.case.startswith("stage ")]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    slowest = [row for row in rows if row.config.get("slowest")]
    assert [row.config["share"] for row in slowest] == [max(shares)]


def test_engines_are_compared_with_one_process(toy_generator: GeneratorFile) -> None:
    ours = constant(toy_generator, "ours", 0.0)
    cases = [Case(worker_pools.CASE, name, "", lambda: 1) for name in (worker_pools.LOCAL, "2 processes")]
    bench = Throughput(tuple(cases), ComparedBackends(ours, (), ()), np.zeros((1, 3, 32, 32), np.float32))
    rates = {(worker_pools.CASE, worker_pools.LOCAL): [10.0, 5.0], (worker_pools.CASE, "2 processes"): [8.0, 4.0]}
    (row,) = bench._engines(rates)
    assert (row.provider, row.p50) == ("2 processes / one process", pytest.approx(0.8))


@pytest.mark.slow
def test_engines_are_timed_where_they_are_asked_for(
    setup: ThroughputSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "ray" else spec(name, *more))
    with prepare(
        replace(setup, parts=replace(setup.parts, generator="generator-s"), engines=True), tmp_path / "scratch"
    ) as bench:
        timed = [case for case in bench.cases if case.name == worker_pools.CASE]
        assert [(case.provider, case.work()) for case in timed] == [(worker_pools.LOCAL, 4), ("2 processes", 4)]


def test_overlap_is_the_time_of_a_run_against_that_of_its_stages(toy_generator: GeneratorFile) -> None:
    ours = constant(toy_generator, "ours", 0.0)
    cases = [Case(name, "x", "", lambda: 1) for name in ("disk", "stage decode", "stage encode")]
    bench = Throughput(tuple(cases), ComparedBackends(ours, (), ()), np.zeros((1, 3, 32, 32), np.float32))
    rates = {("disk", "x"): [10.0, 5.0], ("stage decode", "x"): [20.0, 20.0], ("stage encode", "x"): [25.0, 12.5]}
    total, slowest = bench._overlap(cases[0], rates)
    assert total.p50 == pytest.approx((0.1 / 0.09 + 0.2 / 0.13) / 2)
    assert slowest.p50 == pytest.approx((0.1 / 0.05 + 0.2 / 0.08) / 2)


def test_what_was_written_in_the_rounds_is_removed_but_the_input_is_not(setup: ThroughputSetup, tmp_path: Path) -> None:
    with prepare(setup, tmp_path / "scratch") as bench:
        bench.run(repeats=1)
    out = tmp_path / "scratch" / "out"
    assert not (out / "disk").exists()
    assert len(list((tmp_path / "scratch" / "in").iterdir())) == 4


def test_runs_on_disk_protect_every_photo(setup: ThroughputSetup, tmp_path: Path) -> None:
    with prepare(setup, tmp_path / "scratch") as bench:
        counts = {
            case.name: case.work() for case in bench.cases if case.name in ("disk", "memory", "cmua", "pillow", "copy")
        }
        written = sorted(path.name for path in (tmp_path / "scratch" / "out" / "disk").glob("0*"))
    assert counts == dict.fromkeys(counts, 4)
    assert written == [f"{number:05}" for number in range(4)]


def test_a_large_photo_is_enough_for_the_stages(
    setup: ThroughputSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "HELD", 1)
    with prepare(setup, tmp_path / "scratch") as bench:
        assert next(case for case in bench.cases if case.name == "stage blend").work() == 1


def test_the_generator_is_timed_on_every_backend_that_is_there(toy_generator: GeneratorFile) -> None:
    backends = compared_backends(toy_generator, name="onnxruntime")
    assert backends.chosen.name == "onnxruntime"
    assert [each.name for each in backends.others] == ["openvino"]
    assert backends.torch is None
    assert sum("toy.safetensors is missing" in why for why in backends.missing) == 1
    crops = np.zeros((3, 3, 32, 32), np.float32)
    cases = generator.cases(backends, crops)
    assert [(case.name, case.config["batch"]) for case in cases[::2]] == [
        ("generator batch 1", 1),
        ("generator batch 8", 8),
    ]
    assert [case.work() for case in cases] == [generator.CROPS] * 4


def test_a_backend_that_is_named_and_missing_is_an_error(
    setup: ThroughputSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dadfi_fast.backends.onnxruntime import OnnxRuntime

    monkeypatch.setattr(OnnxRuntime, "missing", classmethod(lambda cls: "it is not installed"))
    with (
        pytest.raises(BackendMissing, match="onnxruntime cannot run"),
        prepare(replace(setup, parts=replace(setup.parts, backend="onnxruntime")), tmp_path / "scratch"),
    ):
        pass


def test_backends_are_compared_with_torch(toy_generator: GeneratorFile) -> None:
    ours, torch = constant(toy_generator, "ours", 0.01), constant(toy_generator, "torch", 0.03)
    crops = np.zeros((1, 3, 32, 32), np.float32)
    assert largest_difference(ours, torch, crops) == pytest.approx(0.02 * 127.5, rel=1e-5)
    cases = [Case(generator.case_name(n), each.describe, "", lambda: 1) for n in (1, 8) for each in (ours, torch)]
    controls = [Case(name, "x", "", lambda: 1) for name in ("disk", "pillow", "cmua", "memory", "copy", "stage decode")]
    bench = Throughput((*cases, *controls), ComparedBackends(ours, (torch,), ()), crops)
    ratios = [row for row in bench.run(repeats=1) if row.case.endswith("/ torch")]
    assert [row.case for row in ratios] == ["generator batch 1 / torch", "generator batch 8 / torch"]
    assert ratios[0].provider == "ours-cpu / torch-cpu"
    assert ratios[0].config["largest_difference_levels"] == pytest.approx(2.55)
