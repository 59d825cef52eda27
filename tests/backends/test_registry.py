from __future__ import annotations

import pytest

from dadfi_fast.backends import cuda
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.backends.openvino import OpenVINO
from dadfi_fast.backends.registry import BACKENDS, choose, choose_device
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


@pytest.mark.parametrize(
    ("device", "hint"),
    [
        ("gpu", " (did you mean 'cuda'?)"),
        ("GPU:0", " (did you mean 'cuda'?)"),
        ("cudda", " (did you mean 'cuda'?)"),
        ("cpu:0", " (did you mean 'cpu'?)"),
        ("cuda:", " (did you mean 'cuda'?)"),
        ("cuda:first", ""),
        ("cuda:-1", " (did you mean 'cuda'?)"),
        ("mps", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "openvino", "torch"])
def test_an_unknown_device_is_told_with_those_that_there_are(device: str, hint: str, backend: str) -> None:
    message = f"unknown device {device!r}{hint}. Available: auto, cpu, cuda, cuda:N"
    for choice in (lambda: choose(backend, device=device), lambda: choose_device(backend, device)):
        with pytest.raises(UsageError) as caught:
            choice()
        assert str(caught.value) == message


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_a_device_that_is_named_stays(device: str) -> None:
    assert choose_device("auto", device) == (device, "named by the user")


def test_auto_on_a_gpu_passes_over_what_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in BACKENDS:
        monkeypatch.setattr(BACKENDS[each](), "missing_on", classmethod(lambda cls, device: f"no {cls.name}"))
    monkeypatch.setattr(Torch, "missing_on", classmethod(lambda cls, device: None))
    backend, why = choose("auto", device="cuda")
    assert backend is Torch
    assert why == (
        "not measured, the first that runs on cuda; "
        "openvino does not run on cuda; no tensorrt; no tensorrt-rtx; no onnxruntime"
    )


@pytest.mark.gpu
def test_auto_on_a_gpu_finds_something() -> None:
    assert "cuda" in choose("auto", device="cuda")[0].devices


def test_a_named_backend_must_run_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Torch, "missing_on", classmethod(lambda cls, device: f"no {device}"))
    with pytest.raises(BackendMissing, match="backend torch cannot run: no cuda:1"):
        choose("torch", device="cuda:1")


def test_all_entries_load() -> None:
    assert {BACKENDS[name]().name for name in BACKENDS} == set(BACKENDS)


@pytest.mark.parametrize(
    ("backend", "driver", "usable", "device", "why"),
    [
        ("auto", False, {"torch"}, "cpu", "no NVIDIA driver is installed"),
        ("auto", True, {"torch"}, "cuda", "torch can use a GPU"),
        ("auto", True, {"torch", "onnxruntime"}, "cuda", "onnxruntime can use a GPU"),
        ("auto", True, set(), "cpu", "no tensorrt; no tensorrt-rtx; no onnxruntime; no torch"),
        ("openvino", True, {"torch"}, "cpu", "openvino runs on CPUs only"),
        ("onnxruntime", True, {"torch"}, "cpu", "no onnxruntime"),
        ("onnxruntime", False, {"onnxruntime"}, "cpu", "no NVIDIA driver is installed"),  # its provider, without a GPU
        ("torch", False, {"torch"}, "cuda", "torch can use a GPU"),  # one of AMD's
        ("tensorrt", False, set(), "cuda", "tensorrt runs on GPUs only"),  # `choose` says what it lacks
    ],
)
def test_the_device_that_auto_is(
    monkeypatch: pytest.MonkeyPatch, backend: str, driver: bool, usable: set[str], device: str, why: str
) -> None:
    monkeypatch.setattr(cuda, "missing", lambda: None if driver else "no NVIDIA driver is installed. Install it")
    for name in BACKENDS:
        lacks = None if name in usable else f"no {name}"
        monkeypatch.setattr(BACKENDS[name](), "missing_on", classmethod(lambda _cls, _device, lacks=lacks: lacks))
    assert choose_device(backend) == (device, why)
    assert choose_device(backend, "cuda:1") == ("cuda:1", "named by the user")
