from __future__ import annotations

import ctypes
from typing import Any

import pytest

from dadfi_fast.backends import cuda
from dadfi_fast.errors import BackendMissing


class Driver:
    """Answers as NVIDIA's driver does, with two GPUs."""

    def __init__(self, failed: int = 0) -> None:
        self.failed = failed

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.failed

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 12080
        return 0

    def cuDeviceGetName(self, name: Any, size: int, index: int) -> int:  # noqa: N802
        name.value = f"NVIDIA card {index}".encode()
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, index: int) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 9}[which]
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    fake = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: fake)
    return fake


@pytest.mark.parametrize(("device", "name"), [("cuda", "NVIDIA card 0"), ("cuda:1", "NVIDIA card 1")])
def test_what_there_is(driver: Driver, device: str, name: str) -> None:
    gpu = cuda.gpu(device)
    assert gpu == cuda.Gpu(name, (8, 9), "12.8")
    assert gpu.architecture == "sm89"
    assert cuda.missing(device) is None


def test_a_number_that_there_is_not(driver: Driver) -> None:
    with pytest.raises(BackendMissing, match=r"finds 2 GPUs, but --device is cuda:2. .*nvidia-smi"):
        cuda.gpu("cuda:2")


def test_a_driver_that_fails(driver: Driver) -> None:
    driver.failed = 999
    assert "CUDA error 999" in str(cuda.missing())


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert "no NVIDIA driver is installed. Install it" in str(cuda.missing())
