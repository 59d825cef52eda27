from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadfi_fast import device

X86 = "processor\t: 0\nmodel name\t: Fast 9000\nflags\t\t: fpu sse2 avx512f avx512_bf16\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n"


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """The CPU is asked once a process; here once a test."""
    device.cpu.cache_clear()
    yield
    device.cpu.cache_clear()


def cpuinfo(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    def read_text(path: Path, *_args: object, **_kwargs: object) -> str:
        assert path.as_posix() == "/proc/cpuinfo"
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read_text)


@pytest.mark.parametrize(
    ("text", "name", "bf16"),
    [
        (X86, "Fast 9000", True),
        (X86.replace(" avx512_bf16", ""), "Fast 9000", False),
        (X86.replace("avx512_bf16", "avx512_bf16x"), "Fast 9000", False),  # whole words, not parts
        (ARM, None, True),  # Arm calls them Features, and names no model
        (None, None, False),  # not Linux
    ],
    ids=["bf16", "no bf16", "similar name", "arm", "no cpuinfo"],
)
def test_processor(monkeypatch: pytest.MonkeyPatch, text: str | None, name: str | None, bf16: bool) -> None:
    cpuinfo(monkeypatch, text)
    assert device.bf16_runs_well() is bf16
    assert device.cpu()[0] == name or (name is None and device.cpu()[0])


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5, 8}, raising=False)
    assert device.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)  # what it says where it does not know
    assert device.cores() == 1


def test_machine_names_what_a_benchmark_row_needs() -> None:
    facts = device.machine()
    assert set(facts) >= {"processor", "cores", "bf16", "system"}
    assert facts["processor"] and facts["cores"] == device.cores()
