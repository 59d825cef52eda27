"""Lanes and crops that are on the device already. Without a GPU the device is the CPU; CUDA's part is marked."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dadfi_fast.backends.cuda_graph import WARM_UP, GraphRunner
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.torch import Torch
from dadfi_fast.types import Float32


@dataclass
class Counting:
    """Doubles what it is given, and counts."""

    calls: int = 0

    def __call__(self, crops: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return 2 * crops


@pytest.fixture
def backend(generator: GeneratorFile) -> Torch:
    return Torch(generator, threads=1, precision="f32")


def test_a_lane_is_warm_before_its_first_batch() -> None:
    forward = Counting()
    runner = GraphRunner(forward, (1, 3, 16, 16), "cpu", graph=True)
    assert forward.calls == WARM_UP
    crops = np.full((1, 3, 16, 16), 3, np.float32)
    assert np.array_equal(runner(crops), 2 * crops)


def test_what_a_lane_put_out_is_the_callers() -> None:
    runner = GraphRunner(Counting(), (1, 3, 16, 16), "cpu", graph=True)
    first = runner(np.ones((1, 3, 16, 16), np.float32))
    runner(np.zeros((1, 3, 16, 16), np.float32))
    assert first.min() == 2


def test_launch_runs_on_what_lies_in_the_lane() -> None:
    runner = GraphRunner(Counting(), (1, 3, 16, 16), "cpu", graph=True)
    runner.crops.fill_(0.5)
    assert runner.launch() is runner.delta
    assert torch.equal(runner.delta, torch.ones(1, 3, 16, 16))


def test_a_lane_of_a_generator_agrees_with_the_backend(backend: Torch, pictures: Float32) -> None:
    runner = backend.graph_runner(pictures.shape)
    assert np.array_equal(np.clip(runner(pictures), -backend.lim, backend.lim), backend(pictures))


def test_resident_crops_are_read_where_they_lie(backend: Torch, pictures: Float32) -> None:
    delta = backend.resident(pictures)  # an array of NumPy speaks DLPack, too
    assert isinstance(delta, torch.Tensor) and not delta.requires_grad
    assert np.array_equal(delta.numpy(), backend(pictures))
    assert np.array_equal(backend.resident(torch.from_numpy(pictures)).numpy(), delta.numpy())


@pytest.mark.parametrize(
    ("crops", "why"),
    [
        (torch.zeros(1, 3, 16, 16, dtype=torch.float16), "float32"),
        (torch.zeros(3, 16, 16), r"\[B, 3, H, W\]"),
        (torch.zeros(1, 16, 16, 3).permute(0, 3, 1, 2), r"\[B, 3, H, W\]"),  # not contiguous: it would be copied
        (torch.zeros(1, 3, 18, 16), "multiples of 4"),
    ],
    ids=["half", "one picture", "channels last", "odd size"],
)
def test_resident_refuses_what_it_would_have_to_change(backend: Torch, crops: torch.Tensor, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        backend.resident(crops)


def test_resident_crops_must_lie_on_the_device(backend: Torch, pictures: Float32) -> None:
    backend.device = "cuda:1"
    with pytest.raises(AssertionError, match="lie on cpu, not on cuda:1"):
        backend.resident(pictures)


def test_threads_do_not_share_a_lane(backend: Torch, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU `run` takes runners; two callers at once have two, and the third call finds them again."""
    runners: list[tuple[int, ...]] = []
    both = threading.Barrier(2, timeout=20)

    def runner(shape: tuple[int, ...]) -> object:
        runners.append(shape)
        return lambda crops: (both.wait(), crops)[1]

    monkeypatch.setattr(backend, "graph_runner", runner)
    backend.device = "cuda"
    crops = np.zeros((1, 3, 16, 16), np.float32)
    for _ in range(2):
        threads = [threading.Thread(target=backend.run, args=(crops,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert runners == [crops.shape] * 2


@pytest.mark.gpu
class TestOnAGpu:
    @pytest.mark.parametrize(("precision", "levels"), [("f32", 0.05), ("f16", 0.5), ("bf16", 3.0)])
    def test_agrees_with_the_processor(
        self, generator: GeneratorFile, backend: Torch, pictures: Float32, precision: str, levels: float
    ) -> None:
        there = Torch(generator, device="cuda", precision=precision)
        for _ in range(2):  # the second time from the captured graph alone
            assert np.abs(there(pictures) - backend(pictures)).max() * 127.5 <= levels

    def test_a_graph_is_captured_and_replayed(self, generator: GeneratorFile, pictures: Float32) -> None:
        there = Torch(generator, device="cuda")
        runner = there.graph_runner(pictures.shape)
        runner.crops.copy_(torch.from_numpy(pictures))
        once = runner.launch().clone()
        runner.crops.zero_()
        assert not torch.equal(runner.launch(), once)

    def test_resident_crops(self, generator: GeneratorFile, pictures: Float32) -> None:
        there = Torch(generator, device="cuda")
        delta = there.resident(torch.from_numpy(pictures).cuda())
        assert delta.is_cuda
        assert np.abs(delta.cpu().numpy() - there(pictures)).max() * 127.5 < 0.05
