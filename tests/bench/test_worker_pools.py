"""The engines beside each other: the same photos, the same threads, and what it takes to start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.backends.openvino import OpenVINO
from dadfi_fast.bench import worker_pools
from dadfi_fast.bench.photos import Photos, gather
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.bench.timing import Case
from dadfi_fast.errors import DadfiError
from dadfi_fast.faces.none import Whole
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.pool import WorkerLost
from dadfi_fast.protect.distributed.processes import Processes
from dadfi_fast.types import Budget

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(folder: Path, tmp_path: Path) -> Photos:
    """Six of them."""
    return gather(folder, tmp_path / "many", count=6)


@pytest.fixture
def bench_setup(tmp_path: Path) -> BenchSetup:
    """The generator that ships, two threads."""
    config = ProtectConfig(sources=("none",), out=tmp_path / "scratch", detector="none", workers=2, again=True)
    backend = OpenVINO(load_generator_file("generator-s"), device="cpu", threads=1)
    return BenchSetup(config, Whole(), GeneratorAttack(backend, Budget()))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends the workers."""
    with ExitStack() as pools:
        yield pools


def test_one_process_and_two(photos: Photos, bench_setup: BenchSetup, stack: ExitStack) -> None:
    timed = worker_pools.cases(photos, bench_setup, stack, ray=False)
    assert [case.provider for case in timed] == ["one process", "2 processes"]
    assert [case.config["threads"] for case in timed] == [2, 2] and timed[1].config["start_seconds"] > 0
    ticks: list[int] = []
    rows = worker_pools.compare(timed, repeats=2, tick=lambda: ticks.append(1))
    assert [(row.case, row.provider, row.unit, row.n) for row in rows] == [
        ("engine", "one process", "images/s", 2),
        ("engine", "2 processes", "images/s", 2),
        ("engine", "2 processes / one process", "ratio", 2),
    ]
    assert len(ticks) == 6 and all(0 < row.p20 <= row.p80 for row in rows)
    assert not any(bench_setup.config.folder.iterdir())  # each round is tidied away


def test_a_photo_that_fails_is_told(photos: Photos, bench_setup: BenchSetup, stack: ExitStack) -> None:
    photos.files[0].write_bytes(b"\xff\xd8\xff")
    case: Case = worker_pools.cases(photos, bench_setup, stack, ray=False)[0]
    with pytest.raises(DadfiError, match="could not be protected"):
        case.work()


def test_a_worker_that_does_not_start_is_told(
    photos: Photos, bench_setup: BenchSetup, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "begin", lambda *_: None)
    monkeypatch.setattr(Processes, "events", lambda *_: [WorkerLost(0, "it ended with exit code 1")])
    with pytest.raises(DadfiError, match=r"a worker did not start: .*exit code 1"):
        worker_pools.cases(photos, replace(bench_setup), stack, ray=False)
