from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.training.config import load_config
from dadfi_fast.training.data import Faces
from dadfi_fast.training.initiative import InitiativeTrainer
from dadfi_fast.training.loop import run, step_rng

TINY = {"image_size": 16, "stored_size": 32, "batch": 4, "bf16": False}
SMALL = {"width": 6, "blocks": 1}


@pytest.fixture
def trainer(faces: Faces, target: Target) -> InitiativeTrainer:
    return InitiativeTrainer(load_config("initiative", TINY), faces, [target], **SMALL)


def test_the_surrogate_learns_to_answer_like_the_model(trainer: InitiativeTrainer) -> None:
    losses = [trainer.step(number, step_rng(0, number))["imitation"] for number in range(30)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_the_model_is_only_called(trainer: InitiativeTrainer, target: Target) -> None:
    differentiated = []
    target.model.generator.register_forward_hook(
        lambda _module, inputs, output: differentiated.append(output.requires_grad)
    )
    for number in range(2):
        trainer.step(number, step_rng(0, number))
    assert differentiated and not any(differentiated)


def test_the_generator_moves_and_its_gradient_leaves_the_surrogate_alone(trainer: InitiativeTrainer) -> None:
    before = trainer.generator.up[-1].weight.detach().clone()
    trainer.step(0, step_rng(0, 0))
    assert not torch.equal(before, trainer.generator.up[-1].weight)
    assert not any(weight.requires_grad for weight in trainer.surrogates[0].model.parameters())


def test_a_resumed_run_takes_the_same_steps(faces: Faces, target: Target, tmp_path: Path) -> None:
    def make_trainer() -> InitiativeTrainer:
        return InitiativeTrainer(replace(load_config("initiative", TINY), steps=4), faces, [target], **SMALL)

    whole, part, rest = make_trainer(), make_trainer(), make_trainer()
    run(whole, steps=4, seed=0, folder=tmp_path / "whole")
    run(part, steps=2, seed=0, folder=tmp_path / "parts")
    run(rest, steps=4, seed=0, folder=tmp_path / "parts")
    for name, weight in whole.generator.state_dict().items():
        assert torch.equal(weight, rest.generator.state_dict()[name]), name


def test_figures_are_those_of_the_model_itself(faces: Faces, target: Target, tmp_path: Path) -> None:
    initiative = InitiativeTrainer(load_config("initiative", TINY), faces, [target], validation=faces, **SMALL)
    calls = []
    target.model.generator.register_forward_hook(lambda *_: calls.append(1))
    initiative.report(tmp_path, 0)
    assert calls and (tmp_path / "validation.jsonl").is_file()
    assert initiative.targets is initiative.surrogates
