"""Training against encoders, and on windows of what latent encoders see."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.encoders import Unedited
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.errors import UsageError
from dadfi_fast.training.config import TrainConfig
from dadfi_fast.training.data import Faces
from dadfi_fast.training.loop import step_rng
from dadfi_fast.training.trainer import DadfiTrainer
from dadfi_fast.training.window import Window, windowed


class _Same(nn.Module):
    def forward(self, images: Tensor, edit: Tensor) -> Tensor:
        return images


class _Pooled(nn.Module):
    def forward(self, images: Tensor, edit: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images, 8).flatten(1)


def latents(network: nn.Module, side: int = 32) -> Target:
    return Target("latents", Editor(network, side), "0", Unedited(()), family="taesd")


def test_a_window_is_a_part_of_what_the_whole_would_see() -> None:
    images = torch.rand(2, 3, 48, 48)
    target = latents(_Same())
    part = windowed(target, 16, step_rng(0, 0))
    assert isinstance(part.model, Window)
    top, left = part.model.corner
    assert top % 8 == left % 8 == 0
    fakes = part.fake(images, torch.zeros(2, 0))
    assert torch.equal(fakes, target.model.resize(images)[:, :, top : top + 16, left : left + 16])
    assert torch.equal(part.model.resize(fakes), fakes)


def test_windows_lie_anywhere_and_inside() -> None:
    corners = {windowed(latents(_Same()), 16, step_rng(0, i)).model.corner for i in range(40)}  # type: ignore[attr-defined]
    assert {top for top, _ in corners} == {left for _, left in corners} == {0, 8, 16}


@pytest.mark.parametrize("side", [0, 32, 64])
def test_without_a_smaller_window_the_encoder_stays_whole(side: int) -> None:
    target = latents(_Same())
    assert windowed(target, side, step_rng(0, 0)) is target


def test_what_is_no_latent_encoder_is_never_cut() -> None:
    target = replace(latents(_Same()), family="mobilefacenet")
    assert windowed(target, 16, step_rng(0, 0)) is target


@pytest.mark.slow
def test_a_generator_learns_to_move_latents_beside_a_deepfake_model(faces: Faces, target: Target) -> None:
    torch.manual_seed(0)
    config = TrainConfig(
        image_size=32, stored_size=32, batch=4, steps=30, bf16=False, lambda_x=0.0, lambda_y=0.0, joint=True,
        models=("tiny", "latents"), lambda_distortion=1.0, distortion_loss="log", latent_window=16,
    )  # fmt: skip
    trainer = DadfiTrainer(config, faces, [target, latents(_Pooled())], validation=faces)
    trainer.prepare()
    figures = [trainer.step(number, step_rng(0, number)) for number in range(30)]
    moved = [float(step["d_latents"]) for step in figures]
    assert sum(moved[-5:]) > 3 * sum(moved[:5]) > 0
    assert all(step["d_tiny"].isfinite() for step in figures)


def test_a_weight_of_0_takes_a_model_out_of_the_loss(faces: Faces, target: Target) -> None:
    config = TrainConfig(
        image_size=32, stored_size=32, batch=4, steps=2, bf16=False, lambda_x=0.0, lambda_y=0.0, joint=True,
        models=("tiny", "latents"), lambda_distortion=1.0, distortion_loss="log",
    )  # fmt: skip
    losses = []
    for weights in ((0.0, 1.0), (1.0, 1.0)):
        trainer = DadfiTrainer(replace(config, target_weights=weights), faces, [target, latents(_Pooled())])
        losses.append(trainer.step(0, step_rng(0, 0)))
    alone = DadfiTrainer(replace(config, models=("latents",)), faces, [latents(_Pooled())]).step(0, step_rng(0, 0))
    assert losses[0]["distortion"] < losses[1]["distortion"]
    assert losses[0]["d_latents"] > 0 and alone["distortion"] > 0


def test_weights_are_one_a_model() -> None:
    with pytest.raises(UsageError, match="one weight for each of models"):
        TrainConfig(models=("a", "b"), target_weights=(1.0,))
