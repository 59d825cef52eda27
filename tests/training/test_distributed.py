"""Two processes, one model: gloo on the loopback device."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.training import distributed
from dadfi_fast.training.config import TrainConfig
from dadfi_fast.training.data import Faces
from dadfi_fast.training.loop import run
from dadfi_fast.training.trainer import DadfiTrainer

TINY = TrainConfig(image_size=16, stored_size=32, batch=2, lambda_y=0.0, lambda_distortion=8.0, bf16=False)


def _train(rank: int, port: int, folder: str, faces: Faces, target: Target) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with distributed.group():
        trainer = DadfiTrainer(TINY, faces, [target])
        run(trainer, steps=3, seed=0, folder=Path(folder) / "run")
        for name in ("generator", "ide_x"):
            torch.save(getattr(trainer, name).state_dict(), Path(folder) / f"{name}-{rank}.pt")


def test_two_processes_train_one_model(tmp_path: Path, faces: Faces, target: Target) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_train, (port, str(tmp_path), faces, target), nprocs=2)
    for name in ("generator", "ide_x"):
        first, second = (torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1))
        for key, value in first.items():
            assert torch.equal(second[key], value), key
    # One process alone sees half of the pictures and comes to other weights.
    alone = DadfiTrainer(TINY, faces, [target])
    run(alone, steps=3, seed=0, folder=tmp_path / "alone")
    first = torch.load(tmp_path / "generator-0.pt", weights_only=True)
    assert any(not torch.equal(first[key], value) for key, value in alone.generator.state_dict().items())
    assert (tmp_path / "run" / "checkpoint.pt").is_file()


def test_alone_nothing_is_shared() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    distributed.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
    assert (distributed.rank(), distributed.world()) == (0, 1)
    assert distributed.any_of_all(True) and not distributed.any_of_all(False)


@pytest.mark.parametrize(
    ("scores", "converged"),
    [
        ([0.1, 0.2, 0.3, 0.3], False),  # one checkpoint without gain
        ([0.1, 0.3, 0.3, 0.2], True),  # two
        ([0.3], False),
    ],
)
def test_a_run_ends_when_nothing_is_gained(scores: list[float], converged: bool, faces: Faces, target: Target) -> None:
    trainer = DadfiTrainer(replace(TINY, patience=2), faces, [target])
    trainer.scores = scores
    assert trainer.converged() == converged
