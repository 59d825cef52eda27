from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.errors import DataError
from dadfi_fast.training.config import TrainConfig
from dadfi_fast.training.data import Faces
from dadfi_fast.training.loop import numbers, run, step_rng
from dadfi_fast.training.trainer import DadfiTrainer

pytestmark = pytest.mark.slow

TINY = TrainConfig(
    image_size=32, stored_size=32, batch=4, steps=6, teacher_batches=1, teacher_steps=2, bf16=False,
    lambda_distortion=8.0, lambda_visible=40.0, transforms=True,
)  # fmt: skip


def trainer(config: TrainConfig, faces: Faces, target: Target) -> DadfiTrainer:
    dadfi_trainer = DadfiTrainer(config, faces, [target], validation=faces)
    dadfi_trainer.prepare()
    return dadfi_trainer


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="everything"),
        pytest.param({"bf16": True}, id="half precision"),
        pytest.param({"transforms": False, "lambda_distortion": 0.0, "lambda_visible": 0.0}, id="the paper"),
        pytest.param({"lambda_x": 0.0, "lambda_y": 0.0}, id="no recognizers"),
        pytest.param({"bound": "hinge-only"}, id="hinge only"),
        pytest.param({"gradient": "query", "query_directions": 2}, id="queries only"),
        pytest.param({"masking": True, "axis_weights": (1.0, 0.2, 2.0)}, id="what an eye sees"),
        pytest.param({"teacher": "per-image"}, id="a teacher for each picture"),
        pytest.param({"joint": True}, id="all models at once"),
        pytest.param({"distortion_loss": "log", "distortion_goal": 0.12}, id="by inverse vulnerability"),
        pytest.param({"lambda_flip": 60.0, "lambda_ssimulacra2": 0.08, "seen_count": 2}, id="what two metrics see"),
        pytest.param({"crop_share": 1.0, "crop_zoom": 0.1, "crop_shift": 0.05}, id="another crop of each picture"),
    ],
)
def test_a_step_is_finite_and_moves_the_generator(change: dict[str, object], faces: Faces, target: Target) -> None:
    dadfi_trainer = trainer(replace(TINY, **change), faces, target)
    before = {k: v.clone() for k, v in dadfi_trainer.generator.state_dict().items()}
    figures = dadfi_trainer.step(0, step_rng(0, 0))
    assert all(v.isfinite() for v in figures.values()), figures
    assert any(not torch.equal(v, before[k]) for k, v in dadfi_trainer.generator.state_dict().items())


@pytest.mark.parametrize("teacher", ["universal", "per-image"])
def test_queries_never_differentiate_the_model(teacher: str, faces: Faces, target: Target) -> None:
    called = []

    class Closed(type(target.model)):  # type: ignore[misc]
        def fake(self, images: torch.Tensor, edit: torch.Tensor) -> torch.Tensor:
            called.append(len(images))
            return super().fake(images, edit).detach()  # nothing of how it came about leaves

    closed = replace(target, model=Closed(target.model.generator, target.model.image_size))
    change = {"teacher": teacher, "gradient": "query", "query_directions": 1, "lambda_x": 0.0, "lambda_visible": 0.0}
    dadfi_trainer = trainer(replace(TINY, **change), faces, closed)
    before = {k: v.clone() for k, v in dadfi_trainer.generator.state_dict().items()}
    dadfi_trainer.step(0, step_rng(0, 0))
    assert any(not torch.equal(v, before[k]) for k, v in dadfi_trainer.generator.state_dict().items())
    assert len(called) > 2 * TINY.teacher_steps
    with pytest.raises(RuntimeError, match="does not require grad"):
        trainer(replace(TINY, **change | {"gradient": "white-box"}), faces, closed).step(0, step_rng(0, 0))


def test_all_models_at_once_are_their_sum(faces: Faces, target: Target) -> None:
    def step(joint: bool, count: int) -> dict[str, float]:
        config = replace(TINY, joint=joint, lambda_x=0.0, transforms=False)
        dadfi_trainer = DadfiTrainer(config, faces, [replace(target, name=str(number)) for number in range(count)])
        dadfi_trainer.prepare()
        dadfi_trainer.perturbations = dadfi_trainer.perturbations[:1] * count
        dadfi_trainer._one_edit_each = lambda target, labels, rng: target.edits(labels)[0]  # type: ignore[method-assign]
        return numbers(dadfi_trainer.step(0, torch.Generator().manual_seed(1)))

    one, three = step(joint=True, count=1), step(joint=True, count=3)
    for term in ("distortion", "loss_y", "d_y"):
        assert three[term] == pytest.approx(3 * one[term], rel=1e-4)
    for figure in ("d_mask", "rms", "visible"):
        assert three[figure] == pytest.approx(one[figure], rel=1e-4)


def test_the_deepfake_model_stays_as_it_is(faces: Faces, target: Target) -> None:
    before = {k: v.clone() for k, v in target.model.state_dict().items()}
    dadfi_trainer = trainer(TINY, faces, target)
    dadfi_trainer.step(0, step_rng(0, 0))
    assert all(torch.equal(v, before[k]) for k, v in target.model.state_dict().items())


def test_what_is_seen_beyond_the_goals_costs(faces: Faces, target: Target) -> None:
    dadfi_trainer = trainer(replace(TINY, lambda_flip=60.0, lambda_ssimulacra2=0.08), faces, target)
    x = faces.batch(torch.arange(4))
    costs = [dadfi_trainer._perceived(x, torch.full_like(x, value), step_rng(0, 0)) for value in (0.0, 0.02, 0.05)]
    assert [cost["flip"].item() for cost in costs[:1]] == [0.0]
    assert costs[0]["flip"] <= costs[1]["flip"] < costs[2]["flip"]
    changed = torch.zeros_like(x)
    changed[TINY.seen_count :] = 0.05
    assert (
        dadfi_trainer._perceived(x, changed, step_rng(0, 0))["flip"].item() == 0
    )  # only the first pictures are looked at
    windowed = trainer(replace(TINY, lambda_flip=60.0, flip_goal=0.0, seen_side=32, seen_window=16), faces, target)
    corner = torch.zeros_like(x)
    corner[:, :, :8, :8] = 0.5
    flips = [windowed._perceived(x, corner, step_rng(0, number))["flip"].item() for number in range(20)]
    assert 100 * min(flips) < max(flips)  # the change lies in some windows, and in others not


def test_a_pool_is_drawn_from(faces: Faces, target: Target) -> None:
    pool = [replace(target, name=f"tiny-{number}") for number in range(3)]
    dadfi_trainer = DadfiTrainer(replace(TINY, lambda_y=0.0), faces, [target], pools=[pool])
    drawn = {dadfi_trainer._member(0, step_rng(0, number)).name for number in range(30)}
    assert drawn == {"tiny-0", "tiny-1", "tiny-2"}
    dadfi_trainer.step(0, step_rng(0, 0))


def test_training_breaks_the_fakes_more_and_more(faces: Faces, target: Target) -> None:
    config = replace(TINY, transforms=False, steps=60, decay_from=1.0, lambda_visible=0.0, lambda_x=0.0, lambda_y=0.0)
    dadfi_trainer = trainer(replace(config, lr=5e-3), faces, target)
    distortions = [dadfi_trainer.step(i, step_rng(0, i))["d_mask"] for i in range(60)]
    assert sum(distortions[-10:]) > 1.5 * sum(distortions[:10])


def test_resumed_training_takes_the_same_steps(tmp_path: Path, faces: Faces, target: Target) -> None:
    whole, first, second = (trainer(TINY, faces, target) for _ in range(3))
    run(whole, steps=4, seed=0, folder=tmp_path / "whole")
    run(first, steps=2, seed=0, folder=tmp_path / "parts")
    run(second, steps=4, seed=0, folder=tmp_path / "parts")
    for name, value in whole.generator.state_dict().items():
        assert torch.equal(second.generator.state_dict()[name], value), name


def test_the_report_is_a_sheet_and_a_line_of_figures(tmp_path: Path, faces: Faces, target: Target) -> None:
    run(trainer(TINY, faces, target), steps=1, seed=0, folder=tmp_path)
    assert (tmp_path / "sheet-000001.png").stat().st_size > 0
    (line,) = (tmp_path / "validation.jsonl").read_text().splitlines()
    figures = json.loads(line)
    assert figures["step"] == 1 and figures["psnr"] > 20 and 5 <= figures["jpeg_equivalent"] <= 98
    for way in ("png", "a1", "jpeg75"):
        assert 0 <= figures[f"tiny {way}"] <= 1 and 0 <= figures[f"tiny {way} d_mask"] <= 4


def test_a_checkpoint_made_against_other_models_is_refused(faces: Faces, target: Target) -> None:
    state = trainer(TINY, faces, target).state()
    with pytest.raises(DataError, match="other deepfake models"):
        trainer(TINY, faces, replace(target, sha256="1" * 64)).load(state)


def test_a_checkpoint_of_another_network_is_refused(faces: Faces, target: Target) -> None:
    state = trainer(replace(TINY, gated=True), faces, target).state()
    with pytest.raises(DataError, match=r"gated=True, not False.*--set gated=true"):
        trainer(TINY, faces, target).load(state)
    del state["config"]["gated"]  # as before there were gates
    trainer(TINY, faces, target).load(state)


def test_the_gate_and_the_contrast_are_what_the_recipe_says(faces: Faces, target: Target) -> None:
    gated = trainer(replace(TINY, gated=True), faces, target)
    white = torch.ones(1, 3, 32, 32)
    assert gated.generator(white).abs().max() == 0 < trainer(TINY, faces, target).generator(white).abs().max()
    assert "contrast" not in trainer(TINY, faces, target).step(0, step_rng(0, 0))
    terms = [
        trainer(replace(TINY, lambda_contrast=weight, contrast_goal=goal), faces, target).step(0, step_rng(0, 0))[
            "contrast"
        ]
        for weight, goal in ((1.0, 0.0), (3.0, 0.0), (3.0, 10.0))
    ]
    assert terms[0] > 0 and torch.isclose(terms[1], 3 * terms[0]) and terms[2] == 0


def test_the_model_that_lags_is_asked_more_often(faces: Faces, target: Target) -> None:
    other = replace(target, name="other")
    dadfi_trainer = DadfiTrainer(replace(TINY, dynamic=1.0), faces, [target, other])
    assert dadfi_trainer.shares.tolist() == [0.5, 0.5]
    dadfi_trainer._prefer_laggards({"tiny a1": 1.0, "other a1": 0.5})
    assert dadfi_trainer.shares.tolist() == pytest.approx([0.1 / 0.7, 0.6 / 0.7])
    again = DadfiTrainer(replace(TINY, dynamic=1.0), faces, [target, other])
    again.load(dadfi_trainer.state())
    assert torch.equal(again.shares, dadfi_trainer.shares)
