from __future__ import annotations

import onnxruntime
import pytest

from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.onnxruntime import CUDA, OnnxRuntime
from dadfi_fast.errors import BackendMissing, UsageError


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA")
def test_without_the_cuda_provider_it_says_how_to_get_it(generator: GeneratorFile) -> None:
    with pytest.raises(BackendMissing, match=r"no CUDA provider .*run: pip uninstall onnxruntime && pip install"):
        OnnxRuntime(generator, device="cuda")


class Session:
    """Falls back to the CPU without a word, as the real one does."""

    def __init__(self, model: object, options: object, providers: list[object]) -> None:
        self.model, self.providers = model, providers

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


@pytest.fixture
def falling_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)


def test_it_never_runs_on_the_processor_when_a_gpu_was_asked_for(generator: GeneratorFile, falling_back: None) -> None:
    with pytest.raises(BackendMissing, match="could not load CUDAExecutionProvider and would run on CPU"):
        OnnxRuntime(generator, device="cuda:1")


def test_the_gpu_that_was_named_is_asked_for(
    generator: GeneratorFile, falling_back: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "get_providers", lambda self: [CUDA])
    backend = OnnxRuntime(generator, device="cuda:1", precision="f16")
    session = backend._session
    assert session.providers == [(CUDA, {"device_id": "1", "use_tf32": "0"})]
    assert isinstance(session.model, bytes) and len(session.model) < generator.onnx.stat().st_size
    assert backend.describe == "onnxruntime-cuda:1 f16"


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_precisions_that_a_processor_has_not(generator: GeneratorFile, precision: str) -> None:
    with pytest.raises(UsageError, match=f"runs the generator in f32 on cpu, not in {precision}"):
        OnnxRuntime(generator, precision=precision)
