"""What TensorRT for RTX compiles is kept: with a stand-in for its runtime cache, which cannot be made without a GPU."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from dadfi_fast.backends import cuda
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.tensorrt import build, cache, runtime_cache
from dadfi_fast.backends.tensorrt.backend import TensorRTRTX
from dadfi_fast.errors import DadfiError
from dadfi_fast.types import Float32

GPU = cuda.Gpu("NVIDIA GeForce RTX 5090", (12, 0), "13.0")
posix = pytest.mark.skipif(os.name == "nt", reason="Windows keeps no mode bits")
Make = Callable[[], TensorRTRTX]


class OnTheProcessor(TensorRTRTX):
    """The backend, with addresses of the CPU's memory."""

    devices: ClassVar[Mapping[str, tuple[str, ...]]] = {"cpu": ("f32",)}

    @classmethod
    def missing_on(cls, device: str) -> str | None:
        return None


@pytest.fixture
def make(flavour: build.Flavour, generator: GeneratorFile, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes the backend, as each process does."""
    monkeypatch.setattr(OnTheProcessor, "flavour", flavour)
    monkeypatch.setattr(cuda, "gpu", lambda device="cuda": GPU)
    return lambda: OnTheProcessor(generator)


def crops(*shape: int) -> Float32:
    return np.zeros(shape, np.float32)


def shapes(file: Path) -> list[list[int]]:
    result: list[list[int]] = json.loads(file.read_bytes()[32:])[1]
    return result


def test_what_was_compiled_is_there_in_the_next_process(make: Make) -> None:
    first = make()
    assert not first.compiled.found
    first(crops(1, 3, 16, 16))
    (file,) = cache.folder().glob("*.compiled")
    assert file == first.compiled.file and shapes(file) == [[1, 3, 16, 16]]
    (engine,) = cache.folder().glob("*.engine")
    assert file.name == f"{engine.stem}-nvidia_geforce_rtx_5090-13_0.compiled"
    second = make()
    assert second.compiled.found
    second(crops(2, 3, 32, 32))
    assert shapes(file) == [[1, 3, 16, 16], [2, 3, 32, 32]]


def test_resident_crops_are_kept_too(make: Make) -> None:
    backend = make()
    backend.resident(crops(1, 3, 32, 32))
    assert shapes(backend.compiled.file) == [[1, 3, 32, 32]]


def test_it_is_written_only_when_it_has_grown(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make()(crops(1, 3, 16, 16))
    monkeypatch.setattr(runtime_cache, "atomic_write", None)  # would fail if called
    backend = make()
    for _ in range(2):
        backend(crops(1, 3, 16, 16))


@pytest.mark.parametrize(
    "change", [{"name": "NVIDIA RTX A6000"}, {"driver": "13.1"}], ids=lambda change: next(iter(change))
)
def test_another_gpu_or_driver_has_its_own(make: Make, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]) -> None:
    make()(crops(1, 3, 16, 16))
    monkeypatch.setattr(cuda, "gpu", lambda device="cuda": replace(GPU, **change))
    assert not make().compiled.found


@pytest.mark.parametrize("harm", ["changed", "cut", "empty"])
def test_what_is_not_what_was_written_is_not_handed_over(make: Make, harm: str) -> None:
    backend = make()
    backend(crops(1, 3, 16, 16))
    file, content = backend.compiled.file, backend.compiled.file.read_bytes()
    file.write_bytes({"changed": content[:-1] + b"x", "cut": content[:-5], "empty": b""}[harm])
    again = make()
    assert not again.compiled.found
    again(crops(1, 3, 16, 16))
    assert file.read_bytes() == content


def test_what_it_refuses_is_replaced(make: Make) -> None:
    """Of another version, say."""
    backend = make()
    other = json.dumps(["another machine", [[9, 9, 9, 9]]]).encode()
    backend._config._cache.serialize = lambda: other
    backend(crops(1, 3, 16, 16))
    again = make()
    assert not again.compiled.found
    again(crops(1, 3, 16, 16))
    assert shapes(again.compiled.file) == [[1, 3, 16, 16]]


@posix
def test_it_is_not_read_where_others_can_write(make: Make) -> None:
    backend = make()
    backend(crops(1, 3, 16, 16))
    backend.compiled.file.chmod(0o666)
    with pytest.raises(DadfiError, match="others can write"):
        make()


def test_a_folder_that_cannot_be_written_is_done_without(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = make()

    def full(path: Path, data: bytes, *, private: bool) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(runtime_cache, "atomic_write", full)
    assert backend(crops(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    assert not list(cache.folder().glob("*.compiled"))
