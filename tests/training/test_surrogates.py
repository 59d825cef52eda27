from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dadfi_fast.training.data import Faces
from dadfi_fast.training.loop import run, step_rng
from dadfi_fast.training.surrogates.attributes import AttributesConfig, AttributesTrainer, accuracy
from dadfi_fast.training.surrogates.stargan import StarGANConfig, StarGANTrainer

STARGAN = StarGANConfig(image_size=32, conv_dim=4, critic_dim=4, critic_layers=3, batch=4, steps=4)
ATTRIBUTES = AttributesConfig(image_size=32, width=4, batch=12, steps=60, shift=0)


def test_stargan_resumes_where_it_was(tmp_path: Path, faces: Faces) -> None:
    whole, first, second = (StarGANTrainer(STARGAN, faces) for _ in range(3))
    run(whole, steps=3, seed=0, folder=tmp_path / "whole")
    run(first, steps=1, seed=0, folder=tmp_path / "parts")
    run(second, steps=3, seed=0, folder=tmp_path / "parts")
    for name, value in whole.average.state_dict().items():
        assert torch.equal(second.average.state_dict()[name], value), name
    assert (tmp_path / "whole" / "sheet-000003.png").is_file()


@pytest.mark.parametrize("bf16", [False, True])
def test_stargan_losses_are_finite_and_both_networks_move(bf16: bool, faces: Faces) -> None:
    trainer = StarGANTrainer(StarGANConfig(**{**vars(STARGAN), "bf16": bf16}), faces)
    before = [p.clone() for p in (*trainer.generator.parameters(), *trainer.critic.parameters())]
    losses = trainer.step(0, step_rng(0, 0))
    assert all(torch.tensor(v).isfinite() for v in losses.values()), losses
    after = [*trainer.generator.parameters(), *trainer.critic.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_classifier_learns_what_can_be_seen(faces: Faces) -> None:
    trainer = AttributesTrainer(ATTRIBUTES, faces)
    untrained = accuracy(trainer.model, faces).mean()
    for i in range(ATTRIBUTES.steps):
        trainer.step(i, step_rng(0, i))
    assert accuracy(trainer.model, faces).mean() > max(0.8, untrained)
