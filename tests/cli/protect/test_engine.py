"""``protect --engine``, ``--processes`` and URLs: who works, and what does not go together."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from dadfi_fast.cli.protect import engine
from dadfi_fast.cli.protect.engine import Engine, gpus, shared
from dadfi_fast.cli.protect.sample import CheckSample
from dadfi_fast.errors import UsageError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.processes import Processes
from dadfi_fast.protect.manifest import NAME
from dadfi_fast.protect.results import Copied, Done, Entry, Written
from dadfi_fast.storage.paths import RemotePath, parse_url
from dadfi_fast.types import UInt8

Command = Callable[..., Result]


class Driver:
    """Stands in for NVIDIA's driver library."""

    def __init__(self, count: int, code: int = 0) -> None:
        self.count, self.code = count, code

    def cuInit(self, _flags: int) -> int:  # noqa: N802
        return self.code

    def cuDeviceGetCount(self, place: Any) -> int:  # noqa: N802
        ctypes.cast(place, ctypes.POINTER(ctypes.c_int))[0] = self.count
        return 0


def missing() -> Any:
    """There is no driver."""
    raise OSError("libcuda.so.1: cannot open shared object file")


@pytest.mark.parametrize(
    ("load", "count"), [(missing, 0), (lambda: Driver(4), 4), (lambda: Driver(0), 0), (lambda: Driver(4, code=100), 0)]
)
def test_gpus_are_counted_by_the_driver(load: Any, count: int) -> None:
    assert gpus(load) == count


@pytest.mark.parametrize(
    ("device", "workers", "count", "cards", "expected"),
    [
        ("cpu", None, 2, 0, [("cpu", 4), ("cpu", 4)]),
        ("cpu", None, 16, 0, [("cpu", 1)] * 16),
        ("cpu", 3, 2, 0, [("cpu", 3), ("cpu", 3)]),
        ("cuda", None, 4, 4, [("cuda:0", 2), ("cuda:1", 2), ("cuda:2", 2), ("cuda:3", 2)]),
        ("cuda", None, 4, 2, [("cuda:0", 2), ("cuda:1", 2), ("cuda:0", 2), ("cuda:1", 2)]),
        ("cuda:1", None, 2, 0, [("cuda:1", 4), ("cuda:1", 4)]),
    ],
)
def test_cores_and_gpus_are_shared(
    monkeypatch: pytest.MonkeyPatch, device: str, workers: int | None, count: int, cards: int, expected: Any
) -> None:
    monkeypatch.setattr(engine, "cores", lambda: 8)
    config = ProtectConfig(sources=("in",), out=Path("out"), device=device, workers=workers)
    assert [(each.device, each.threads) for each in shared(config, count, gpus=cards)] == expected


@pytest.mark.parametrize(
    ("device", "processes", "cards", "size"),
    [
        ("cpu", None, 4, None),  # one process, which is this one
        ("cpu", 1, 0, None),
        ("cpu", 3, 0, 3),
        ("cuda", None, 1, None),
        ("cuda", None, 4, 4),  # one a GPU
        ("cuda", 2, 4, 2),
        ("cuda:1", None, 4, None),  # this GPU and no other
    ],
)
def test_who_works(
    monkeypatch: pytest.MonkeyPatch, device: str, processes: int | None, cards: int, size: int | None
) -> None:
    monkeypatch.setattr(engine, "gpus", lambda: cards)
    config = ProtectConfig(sources=("in",), out=Path("out"), device=device)
    pool = Engine(processes=processes).pool(config, lambda _: None)  # type: ignore[arg-type,return-value]
    assert (pool and pool.size) == size and (pool is None or isinstance(pool, Processes))


def test_memory_is_of_one_process(memory: str) -> None:
    config = ProtectConfig(sources=("in",), out=parse_url(f"{memory}/out"))
    with pytest.raises(UsageError, match="in the memory of one process"):
        Engine(processes=2).pool(config, lambda _: None)  # type: ignore[arg-type,return-value]


@pytest.fixture
def memory() -> Any:
    """The URL of an empty folder in memory."""
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    yield "memory:///shop"
    MemoryFileSystem.store.clear()


@pytest.fixture
def protect(command: Command, tmp_path: Path, smooth: Callable[[int, int], UInt8]) -> Command:
    """Protects five pictures with the generator that ships, every picture one face, and no check."""
    (tmp_path / "in").mkdir()
    for number in range(5):
        Image.fromarray(np.roll(smooth(60, 80), number)).save(tmp_path / "in" / f"{number}.png")

    def run(*arguments: object, out: object = tmp_path / "out") -> Result:
        fixed = ("--out", out, "--detector", "none", "--check", 0, "--workers", 1)
        return command("protect", tmp_path / "in", *fixed, *arguments)

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ray-address", "10.0.0.1:6379"), "--ray-address needs --engine ray"),
        (("--processes", "0"), "neither 'auto' nor an integer"),
        (("--processes", "2", "--profile", "trace.json"), "--profile covers a single process"),
        (("--engine", "rya"), "Did you mean 'ray'"),
    ],
)
def test_what_does_not_go_together(protect: Command, arguments: tuple[str, ...], words: str) -> None:
    result = protect(*arguments)
    assert result.exit_code == 2 and words in result.stderr


def test_ray_that_is_not_installed(protect: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = protect("--engine", "ray")
    assert result.exit_code == 2 and "pip install 'dadfi-fast[ray]'" in result.stderr
    assert not (tmp_path / "out").exists()  # never silently another engine
    assert protect("--engine", "ray", "--dry-run").exit_code == 0  # which needs none


def test_a_store_that_is_not_installed(protect: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    result = protect(out="gs://bucket/out")
    assert result.exit_code == 2 and "pip install 'dadfi-fast[gcs]'" in result.stderr


def test_into_a_store(protect: Command, memory: str) -> None:
    result = protect("--json", out=f"{memory}/out")
    assert result.exit_code == 0 and json.loads(result.stdout)["out"] == f"{memory}/out"
    assert json.loads(result.stdout)["written"] == 5
    out = parse_url(f"{memory}/out")
    assert len((out / NAME).read_bytes().splitlines()) == 5
    assert json.loads(protect("--json", out=f"{memory}/out").stdout)["done"] == 5


@pytest.mark.slow
def test_by_two_processes(protect: Command, tmp_path: Path) -> None:
    result = protect("--json", "--processes", 2)
    assert result.exit_code == 0 and json.loads(result.stdout)["written"] == 5
    assert "generator-s on 2 workers of 1 thread; detector: none" in result.stderr
    assert "workers: openvino" in result.stderr and "5 photos in" in result.stderr
    again = protect("--json")
    assert json.loads(again.stdout)["done"] == 5  # whoever made them


def test_the_sample_comes_here(memory: str, tmp_path: Path) -> None:
    out = parse_url(f"{memory}/out")
    for name in (NAME, "0.jpg", "1.jpg", "2.jpg"):
        out.store.system.pipe_file((out / name).key, name.encode())
    source = parse_url(f"{memory}/in")
    source.store.system.pipe_file((source / "0.jpg").key, b"original")
    (tmp_path / "1.jpg").write_bytes(b"on disk")

    def entry(place: Any) -> Entry:
        return Entry(place, place.name, place.name, 1, 1)

    sample = CheckSample(8, out)
    sample.add(Written(entry(source / "0.jpg"), "0.jpg", (), 6, "s", "t"))
    sample.add(Done(entry(tmp_path / "1.jpg"), "written", "1.jpg"))
    sample.add(Done(entry(source / "2.jpg"), "copied", "2.jpg"))  # holds no protection
    sample.add(Copied(entry(source / "2.jpg"), "2.jpg", "no face found", "s", "s"))
    with sample.local_copies() as (pairs, folder):
        assert [pair.name for pair in pairs] == ["0.jpg", "1.jpg"] and len(sample) == 2
        assert [pair.original.read_bytes() for pair in pairs] == [b"original", b"on disk"]
        assert [pair.protected.read_bytes() for pair in pairs] == [b"0.jpg", b"1.jpg"]
        assert pairs[1].original == tmp_path / "1.jpg" and (folder / NAME).read_bytes() == NAME.encode()
    assert not folder.exists() and isinstance(out, RemotePath)
