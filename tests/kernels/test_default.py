"""Kernels are used unasked only where they were checked: the check on the CPU's stand-in, the rule with pretended
GPUs and checks."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from host import HostMachine

from dadfi_fast.kernels import binding, default, loader, selfcheck
from dadfi_fast.kernels.choice import Gpu, Step
from dadfi_fast.kernels.machine import Numbers, Tensors
from dadfi_fast.ops import instance_norm_residual as operation
from dadfi_fast.ops.fast import KERNELS

HOPPER = Gpu((9, 0), 232448, 132)
SMALL = ((2, 16, 9, 7),)


class Wrong(HostMachine):
    """A GPU on which kernels of one name go wrong."""

    def __init__(self, library: ctypes.CDLL, name: str, harm: str) -> None:
        super().__init__(library, HOPPER)
        self.name, self.harm, self.calls = name, harm, 0

    def launch(self, step: Step, dtype: str, tensors: Tensors, numbers: Numbers) -> None:
        super().launch(step, dtype, tensors, numbers)
        out = tensors[4]
        if not step.kernel.startswith(self.name) or out is None:
            return
        self.calls += 1
        if self.harm == "a number":
            out[1, 2, 4, 3] += out.abs().max() / 2
        elif self.harm == "not written":
            out[1, 2, 4, 3] = float("nan")
        elif self.calls == 2:  # now and then
            out[1, 2, 4, 3] += torch.finfo(out.dtype).eps * (1 + out[1, 2, 4, 3].abs())


class TestCheck:
    def test_right_kernels_pass(self, library: ctypes.CDLL) -> None:
        machine = HostMachine(library, HOPPER)
        assert selfcheck.check("cpu", on=machine, shapes=SMALL) is None
        versions = {step.kernel.partition("_")[0] for step in machine.launched}
        assert versions == {"gather", "normalise", "resident", "cluster", "gradients"}

    @pytest.mark.parametrize("harm", ["a number", "not written", "now and then"])
    @pytest.mark.parametrize(
        ("kernel", "told"),
        [
            ("normalise_f32_nchw_x1", "version naive, f32 NCHW 2x16x9x7 ReLU: "),
            ("cluster_f16_nhwc", "version cluster, f16 NHWC 2x16x9x7 ReLU: "),
            ("gradients_held_bf16", "gradients, bf16 NCHW 2x16x9x7 ReLU: "),
        ],
    )
    def test_wrong_kernels_are_found(self, library: ctypes.CDLL, kernel: str, told: str, harm: str) -> None:
        why = selfcheck.check("cpu", on=Wrong(library, kernel, harm), shapes=SMALL)
        assert why is not None and why.startswith(told)
        assert ("bits" if harm == "now and then" else "PyTorch's own by") in why

    @pytest.mark.parametrize(
        ("missing", "arguments", "refused"),
        [("no GPU", [], "no GPU"), (None, [], "on cuda:0"), (None, ["cuda:1"], "on cuda:1")],
    )
    def test_the_verdict_is_json(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        missing: str | None,
        arguments: list[str],
        refused: str,
    ) -> None:
        monkeypatch.setattr(binding, "missing", lambda: missing)
        monkeypatch.setattr(selfcheck, "check", lambda device: f"on {device}")
        selfcheck.main(arguments)
        assert json.loads(capsys.readouterr().out) == {"refused": refused}

    def test_all_that_the_generator_calls_is_checked(self) -> None:
        cases = list(selfcheck.cases())
        assert {case.dtype for case in cases} == set(binding.NAMES)
        assert {(case.relu, case.residual) for case in cases} == {(True, False), (False, True)}
        assert {case.layout for case in cases} == {"NCHW", "NHWC"}
        assert any(case.shape[2] % 8 and case.shape[3] % 8 for case in cases)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Two GPUs of one kind and one of another, that all could run the kernels; what is done on them."""
    done: list[str] = []
    monkeypatch.delenv(default.VARIABLE, raising=False)
    monkeypatch.setattr(default, "_ANSWERS", [])
    monkeypatch.setattr(binding, "missing", lambda: None)
    monkeypatch.setattr(binding, "register", lambda: done.append("registered"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: ["NVIDIA L4", "NVIDIA L4", "NVIDIA H100"][i])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: [(8, 9), (8, 9), (9, 0)][i])
    monkeypatch.setattr(loader, "fingerprint", lambda dtype, capability: f"digest{capability[0]}")
    monkeypatch.setattr(loader, "user_folder", lambda: tmp_path / "kernels")
    monkeypatch.setattr(default, "examine", lambda device: done.append(f"checked {device}"))
    return done


class TestRule:
    def test_each_kind_is_checked_once_and_for_good(self, gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        assert default.offer() is True and gpus == ["checked 2", "checked 0", "registered"]
        assert default.offer() is False, "the operation asks at every call that reaches PyTorch's own body"
        monkeypatch.setattr(default, "_ANSWERS", [])  # another process
        assert default.offer() is True and gpus[3:] == ["registered"]

    def test_another_driver_or_source_is_checked_again(self, gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        default.offer()
        monkeypatch.setattr(default, "_ANSWERS", [])
        monkeypatch.setattr(loader, "fingerprint", lambda dtype, capability: "other")
        default.offer()
        assert gpus[3:] == ["checked 2", "checked 0", "registered"]

    def test_a_failed_check_is_told_and_kept(
        self, gpus: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.setattr(default, "examine", lambda device: "off by 3" if device == 0 else None)
        for _ in range(2):
            monkeypatch.setattr(default, "_ANSWERS", [])
            assert default.offer() is False and gpus == []
            told = capsys.readouterr().err
            file = tmp_path / "kernels" / "check-nvidia_l4-digest8.json"
            assert "the CUDA kernels are not used, PyTorch's own are: they failed their check (off by 3)" in told
            assert f"delete {file} to have it repeated" in told and file.is_file()
            monkeypatch.setattr(default, "examine", None)  # the second time it is not asked
        file.unlink()
        monkeypatch.setattr(default, "_ANSWERS", [])
        monkeypatch.setattr(default, "examine", lambda device: None)
        assert default.offer() is True

    @pytest.mark.parametrize("word", ["off", "OFF", "0", "no"])
    def test_the_environment_turns_them_off(
        self, gpus: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str
    ) -> None:
        monkeypatch.setenv("DADFI_KERNELS", word)
        assert default.offer() is False and gpus == []
        assert default.refusal() == "DADFI_KERNELS says so" and not capsys.readouterr().err

    def test_what_is_missing_is_no_news(
        self, gpus: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(binding, "missing", lambda: "cuda-core is not installed")
        assert default.offer() is False and gpus == []
        assert default.refusal() == "cuda-core is not installed" and not capsys.readouterr().err

    def test_what_is_known_without_a_check(self, gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        assert default.known() == (None, "will be checked at their first use") and gpus == []
        default.offer()
        assert default.known() == (None, "checked on every GPU here")
        monkeypatch.setattr(loader, "fingerprint", lambda dtype, capability: "new")
        monkeypatch.setattr(default, "examine", lambda device: "off by 3")
        default.refusal()
        assert str(default.known()[0]).startswith("they failed their check (off by 3); delete ")

    def test_a_damaged_verdict_is_made_anew(self, gpus: list[str], tmp_path: Path) -> None:
        folder = tmp_path / "kernels"
        folder.mkdir()
        (folder / "check-nvidia_h100-digest9.json").write_text('{"refused": null}')  # without its hash
        assert default.offer() is True and "checked 2" in gpus

    def test_a_folder_that_cannot_be_written_means_a_check_each_time(
        self, gpus: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setattr(loader, "user_folder", lambda: tmp_path / "file")
        for _ in range(2):
            monkeypatch.setattr(default, "_ANSWERS", [])
            assert default.offer() is True
        assert gpus.count("checked 0") == 2


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("print('words'); print('{\"refused\": null}')", None),
        ('print(\'{"refused": "off by 2"}\')', "off by 2"),
        ("import os; os.abort()", "no verdict: it ended with code -6"),
        ("print('no JSON')", "no verdict: it ended with code 0"),
        ("raise RuntimeError('an illegal memory access was encountered')", "illegal memory access"),
        ("import time; time.sleep(60)", "no verdict: .* timed out after 1 seconds"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="codes of processes are others there")
def test_the_check_is_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, code: str, verdict: str | None) -> None:
    """A fault on a GPU ends all that a process has there."""
    real = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        assert command[1:] == ["-m", "dadfi_fast.kernels.selfcheck", "cuda:1"]
        assert options["env"]["DADFI_KERNELS"] == "off"
        return real([command[0], "-c", code], **options)

    monkeypatch.setattr(default, "SECONDS", 1)
    monkeypatch.setattr(subprocess, "run", run)
    reason = default.examine(1)
    if verdict is None:
        assert reason is None
    else:
        assert reason is not None
        assert re.search(verdict, reason), reason


class OnAGpu(torch.Tensor):
    """Says that it lies on a GPU."""

    is_cuda = True


def test_the_operation_asks_when_it_meets_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    answers = iter([True, False])

    def offer() -> bool:
        calls.append("offer")
        return next(answers)

    monkeypatch.setattr(operation, "KERNELS", {"cuda": lambda: offer})
    plain = operation.instance_norm_residual._init_fn
    x = torch.randn(1, 2, 4, 4)
    plain(x, torch.ones(2), torch.zeros(2))
    assert calls == []  # not on a CPU
    there = x.as_subclass(OnAGpu)
    monkeypatch.setattr(operation, "instance_norm_residual", lambda *args: calls.append("again"))
    plain(there, torch.ones(2), torch.zeros(2))
    assert calls == ["offer", "again"]  # registered just now: called once more, to reach them
    plain(there, torch.ones(2), torch.zeros(2))
    assert calls == ["offer", "again", "offer"]


def test_the_table_names_what_there_is() -> None:
    assert KERNELS["cuda"]() is default.offer
    assert KERNELS["source"]() is loader.source_digest
    assert callable(KERNELS["tensorrt"]())


@pytest.mark.gpu
def test_the_gpu_that_is_here_passes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dadfi_fast.kernels.selfcheck", "cuda:0"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"refused": None}
