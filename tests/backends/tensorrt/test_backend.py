"""The backend's own part (shapes, profiles, addresses, memory) with a stand-in for TensorRT; the rest wants a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from dadfi_fast.backends import cuda
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.backends.registry import choose
from dadfi_fast.backends.tensorrt import build, cache
from dadfi_fast.backends.tensorrt.backend import TensorRT, TensorRTRTX
from dadfi_fast.backends.torch import Torch
from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.export.generator import read, write
from dadfi_fast.types import LEVELS, Float32


class OnTheProcessor(TensorRT):
    """The backend, with addresses of the CPU's memory."""

    devices: ClassVar[Mapping[str, tuple[str, ...]]] = {"cpu": ("f32", "f16")}

    @classmethod
    def missing_on(cls, device: str) -> str | None:
        return None


@pytest.fixture
def backend(flavour: build.Flavour, generator: GeneratorFile, monkeypatch: pytest.MonkeyPatch) -> OnTheProcessor:
    monkeypatch.setattr(OnTheProcessor, "flavour", flavour)
    monkeypatch.setattr(cuda, "gpu", lambda device="cuda": cuda.Gpu("none", (0, 0), "0"))
    return OnTheProcessor(generator)


def crops(*shape: int) -> Float32:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 3, 16, 16),  # the first profile
        (3, 3, 32, 48),  # the second
        (2, 3, 37, 53),  # padded to multiples of four
        (35, 3, 16, 16),  # more than an engine takes at once
    ],
    ids=str,
)
def test_it_agrees_with_onnxruntime(backend: OnTheProcessor, generator: GeneratorFile, shape: tuple[int, ...]) -> None:
    x = crops(*shape)
    assert np.abs(backend(x) - OnnxRuntime(generator, threads=1)(x)).max() * LEVELS < 0.01


def test_a_context_is_made_once_for_a_shape(backend: OnTheProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    x = crops(1, 3, 16, 16)
    first = backend(x)
    monkeypatch.setattr(backend, "forward", None)  # would fail if called
    assert np.array_equal(backend(x), first)


def test_a_lane_and_resident_crops(backend: OnTheProcessor) -> None:
    x = crops(2, 3, 32, 32)
    runner = backend.graph_runner(x.shape)
    runner.crops.copy_(torch.from_numpy(x))
    assert np.array_equal(runner.launch().numpy(), runner(x))
    assert np.array_equal(backend.resident(x).numpy(), backend(x))


def test_crops_beyond_the_profiles_are_told(backend: OnTheProcessor) -> None:
    with pytest.raises(UsageError, match="600 x 600 px; engines accept 16 to 512"):
        backend(crops(1, 3, 600, 600))


def test_half_is_what_it_says(backend: OnTheProcessor, generator: GeneratorFile) -> None:
    x = crops(1, 3, 32, 32)
    half = OnTheProcessor(generator, precision="f16")
    assert half.describe == "tensorrt-cpu f16"
    assert 0 < np.abs(half(x) - backend(x)).max() * LEVELS < 0.25


@pytest.mark.parametrize("kind", [TensorRT, TensorRTRTX])
class TestWithoutIt:
    def test_it_runs_on_a_gpu_only(self, kind: type[TensorRT], generator: GeneratorFile) -> None:
        with pytest.raises(UsageError, match=f"{kind.name} runs on cuda, .* --device cuda"):
            kind(generator)

    def test_not_installed(
        self, kind: type[TensorRT], generator: GeneratorFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        absent = build.Flavour(kind.name, ("no_such_module_",), (1, 0), f"pip install {kind.name}", ahead_of_time=False)
        monkeypatch.setattr(kind, "flavour", absent)
        assert kind.missing() == f"{kind.name} is not installed. Run: pip install {kind.name}"
        with pytest.raises(BackendMissing, match=f"backend {kind.name} cannot run: .* Run: pip"):
            choose(kind.name, device="cuda")
        with pytest.raises(BackendMissing, match="Run: pip"):
            kind(generator, device="cuda")

    def test_no_gpu(self, kind: type[TensorRT], flavour: build.Flavour, monkeypatch: pytest.MonkeyPatch) -> None:
        def none() -> object:
            raise OSError

        monkeypatch.setattr("ctypes.CDLL", lambda name: none())
        assert "no NVIDIA driver is installed. Install it" in str(kind.missing())


def test_rtx_says_which_cards_it_does_not_know(monkeypatch: pytest.MonkeyPatch, flavour: build.Flavour) -> None:
    monkeypatch.setattr(cuda, "gpu", lambda device="cuda": cuda.Gpu("NVIDIA H100", (9, 0), "13.0"))
    monkeypatch.setattr(build, "architectures", lambda flavour: ["sm89", "sm120"])
    monkeypatch.setattr(Torch, "missing_on", classmethod(lambda cls, device: None))
    why = TensorRTRTX.missing_on("cuda")
    assert why == "TensorRT for RTX knows sm89, sm120, and this GPU is sm90; use --backend tensorrt"


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [TensorRT, TensorRTRTX])
class TestOnAGpu:
    @pytest.fixture(autouse=True)
    def there(self, kind: type[TensorRT]) -> Iterator[None]:
        if (why := kind.missing()) is not None:
            pytest.skip(why)
        yield

    @pytest.mark.parametrize(("precision", "levels"), [("f32", 0.05), ("f16", 0.5)])
    @pytest.mark.parametrize("shape", [(1, 3, 256, 256), (8, 3, 256, 256), (2, 3, 37, 53), (35, 3, 64, 64)], ids=str)
    def test_agrees_with_the_processor(
        self, kind: type[TensorRT], generator: GeneratorFile, precision: str, levels: float, shape: tuple[int, ...]
    ) -> None:
        x, there = crops(*shape), kind(generator, device="cuda", precision=precision)
        truth = Torch(generator, precision="f32")(x)
        for _ in range(2):  # the second time from the captured graph alone
            assert np.abs(there(x) - truth).max() * LEVELS <= levels

    @pytest.mark.parametrize("shape", [(1, 3, 256, 256), (8, 3, 256, 256), (3, 3, 36, 52)], ids=str)
    def test_fused_nodes(
        self, kind: type[TensorRT], generator: GeneratorFile, tmp_path: Path, shape: tuple[int, ...]
    ) -> None:
        """TensorRT runs them by our kernel, TensorRT for RTX by their meaning."""
        fused = write(read(generator.name), tmp_path, fused=True)
        x, there = crops(*shape), kind(fused, device="cuda")
        assert np.abs(there(x) - Torch(generator, precision="f32")(x)).max() * LEVELS <= 0.5

    def test_resident_crops(self, kind: type[TensorRT], generator: GeneratorFile) -> None:
        x, there = crops(2, 3, 64, 64), kind(generator, device="cuda")
        delta = there.resident(torch.from_numpy(x).cuda())
        assert delta.is_cuda and np.abs(delta.cpu().numpy() - there(x)).max() * LEVELS < 0.05

    def test_the_second_start_finds_the_engine(
        self, kind: type[TensorRT], generator: GeneratorFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kind(generator, device="cuda")
        monkeypatch.setattr(build, "build", None)
        kind(generator, device="cuda")
        assert list(cache.folder().glob("*.engine"))
