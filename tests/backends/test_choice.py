from __future__ import annotations

import pytest

from dadfi_fast.backends.choice import BACKENDS, choose
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.backends.openvino import OpenVINO
from dadfi_fast.backends.torch import Torch
from dadfi_fast.errors import BackendMissing, UsageError


def lacking(monkeypatch: pytest.MonkeyPatch, *backends: type) -> None:
    for backend in backends:
        monkeypatch.setattr(backend, "missing", classmethod(lambda cls: f"{cls.name} is not installed; run: pip"))


def test_auto_prefers_openvino_on_a_processor() -> None:
    assert choose("auto")[0] is OpenVINO


def test_auto_takes_the_next_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch, OpenVINO)
    backend, why = choose("auto")
    assert backend is OnnxRuntime
    assert "openvino is not installed" in why


def test_auto_with_nothing_installed_says_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch, OpenVINO, OnnxRuntime, Torch)
    with pytest.raises(BackendMissing, match="run: pip"):
        choose("auto")


def test_a_named_backend_is_never_changed_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch, OnnxRuntime)
    with pytest.raises(BackendMissing, match="onnxruntime is not installed"):
        choose("onnxruntime")


def test_a_wrong_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="'openvino'"):
        choose("openvno")


def test_auto_on_a_gpu_passes_over_what_has_none() -> None:
    backend, why = choose("auto", device="cuda")
    assert "cuda" in backend.devices
    assert "openvino does not run on cuda" in why


def test_all_entries_load() -> None:
    assert {BACKENDS[name]().name for name in BACKENDS} == set(BACKENDS)
