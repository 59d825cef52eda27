"""Where training computes: on the CPU, or on a GPU; `on_pretended` is what else there is to that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.errors import BackendMissing
from dadfi_fast.training.data import Faces
from dadfi_fast.training.device import torch_device
from dadfi_fast.training.loop import numbers, step_rng
from dadfi_fast.training.trainer import DadfiTrainer
from tests.training.test_trainer import TINY


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto") == torch_device("cpu") == torch.device("cpu")
    with pytest.raises(BackendMissing, match="--device cuda:1; use --device cpu"):
        torch_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch_device("auto") == torch.device("cuda") and torch_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.gpu
def test_a_gpu_takes_the_same_steps(tmp_path: Path, faces: Faces, target: Target) -> None:
    losses = []
    for where in ("cuda", "cpu"):
        trainer = DadfiTrainer(replace(TINY, device=where), faces, [target], validation=faces)
        trainer.prepare()
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            losses.append(numbers(trainer.step(0, step_rng(0, 0))))
        trainer.report(tmp_path / where, 1)
        assert next(trainer.generator.parameters()).device.type == where
    assert losses[0] == pytest.approx(losses[1], rel=1e-2, abs=1e-4)
