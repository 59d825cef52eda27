from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dadfi_fast.training.data import Faces
from dadfi_fast.training.deepfakes.attributes import AttributesConfig, AttributesTrainer, accuracy
from dadfi_fast.training.deepfakes.stargan import StarGANConfig, StarGANTrainer
from dadfi_fast.training.deepfakes.stargan2 import StarGAN2Config, StarGAN2Trainer
from dadfi_fast.training.deepfakes.stgan import STGANConfig, STGANSACTrainer, STGANTrainer
from dadfi_fast.training.deepfakes.trainer import DeepfakeTrainer
from dadfi_fast.training.loop import run, step_rng

SIZES: dict[str, Any] = {"image_size": 32, "batch": 4, "steps": 4}
CRITIC: dict[str, Any] = {"critic_dim": 4, "critic_layers": 3}
STGAN = STGANConfig(dim=4, layers=3, critic_fc=8, **CRITIC, **SIZES)
FAMILIES: dict[str, tuple[Any, Any]] = {
    "stargan": (StarGANTrainer, StarGANConfig(conv_dim=4, **CRITIC, **SIZES)),
    "stgan": (STGANTrainer, STGAN),
    "stgan-sac": (STGANSACTrainer, STGAN),
    "stargan2": (StarGAN2Trainer, StarGAN2Config(width=4, max_width=8, mapping_width=8, **SIZES)),
}
ATTRIBUTES = AttributesConfig(image_size=32, width=4, batch=12, steps=60, shift=0)

each = pytest.mark.parametrize("family", FAMILIES)


def made(family: str, faces: Faces, **changes: Any) -> DeepfakeTrainer:
    trainer, config = FAMILIES[family]
    out: DeepfakeTrainer = trainer(type(config)(**{**vars(config), **changes}), faces)
    return out


@each
def test_resumed_is_as_uninterrupted(family: str, tmp_path: Path, faces: Faces) -> None:
    whole, first, second = (made(family, faces) for _ in range(3))
    seen: dict[str, list[dict[str, float]]] = {"whole": [], "parts": []}
    for name, trainers in (("whole", [(whole, 3)]), ("parts", [(first, 1), (second, 3)])):
        for trainer, steps in trainers:
            trainer.step = _recorded(trainer, seen[name])  # type: ignore[method-assign]
            run(trainer, steps=steps, seed=0, folder=tmp_path / name)
    assert seen["whole"] == seen["parts"]  # the same losses, to the last bit
    for name, value in whole.kept.state_dict().items():
        assert torch.equal(second.kept.state_dict()[name], value), name
    assert (tmp_path / "whole" / "sheet-000003.png").is_file()


@each
@pytest.mark.parametrize("bf16", [False, True])
def test_losses_are_finite_and_every_network_moves(family: str, bf16: bool, faces: Faces) -> None:
    trainer = made(family, faces, bf16=bf16)
    networks = [part for part in trainer.parts if not part.endswith("opt")]
    before = {part: [p.clone() for p in getattr(trainer, part).parameters()] for part in networks}
    losses = trainer.step(0, step_rng(0, 0))
    assert all(torch.tensor(v).isfinite() for v in losses.values()), losses
    for part in networks:
        after = getattr(trainer, part).parameters()
        assert any(not torch.equal(a, b) for a, b in zip(before[part], after, strict=True)), part


@each
def test_the_rate_falls_to_nothing(family: str, faces: Faces) -> None:
    trainer = made(family, faces, steps=10, decay_from=0.5)
    rates = []
    for number in (0, 5, 9):
        trainer.step(number, step_rng(0, number))
        rates.append(trainer.g_opt.param_groups[0]["lr"])  # type: ignore[attr-defined]
    assert rates == pytest.approx([rates[0], rates[0], rates[0] / 5])


def test_style_pictures_are_of_their_domain_and_named(faces: Faces) -> None:
    trainer = made("stargan2", faces)
    assert isinstance(trainer, StarGAN2Trainer) and faces.labels is not None
    for domain, index in enumerate(trainer.references()):
        assert (faces.labels[index, :3].argmax(1) == domain).all()
    assert len(trainer.facts()["references"]) == 3


def test_a_kept_style_may_be_a_mean(faces: Faces) -> None:
    trainer = made("stargan2", faces, style_mean=2)
    assert isinstance(trainer, StarGAN2Trainer)
    with torch.no_grad():
        for domain, index in enumerate(trainer.references()):
            each = trainer.mean_style(faces.batch(index), torch.full((len(index),), domain))
            torch.testing.assert_close(trainer.styles()[2 * domain + 1], each.mean(0))
    assert len(trainer.styles()) == trainer.rule.size == 6


def test_the_classifier_learns_what_can_be_seen(faces: Faces) -> None:
    trainer = AttributesTrainer(ATTRIBUTES, faces)
    untrained = accuracy(trainer.model, faces).mean()
    for i in range(ATTRIBUTES.steps):
        trainer.step(i, step_rng(0, i))
    assert accuracy(trainer.model, faces).mean() > max(0.8, untrained)


def _recorded(trainer: DeepfakeTrainer, losses: list[dict[str, float]]) -> Any:
    step = trainer.step

    def recorded(number: int, rng: torch.Generator) -> dict[str, float]:
        losses.append(step(number, rng))
        return losses[-1]

    return recorded
