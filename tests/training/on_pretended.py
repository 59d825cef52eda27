"""Training on another device than the CPU: nothing is left behind, and the steps are the same.

`tests.test_pretend` runs this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.evaluate.curve import InTraining
from dadfi_fast.export.release import release_deepfake, release_generator
from dadfi_fast.training.data import Faces
from dadfi_fast.training.deepfakes.attributes import AttributesConfig, AttributesTrainer, accuracy
from dadfi_fast.training.initiative import InitiativeTrainer
from dadfi_fast.training.loop import run
from dadfi_fast.training.trainer import DadfiTrainer
from tests.pretend import There, pretend_device
from tests.training.test_deepfakes import FAMILIES, _recorded
from tests.training.test_trainer import TINY


@pytest.fixture
def device() -> Iterator[str]:
    with pretend_device() as name:
        yield name


def test_the_pretended_device_refuses_what_a_gpu_refuses(device: str) -> None:
    layer, x = torch.nn.Conv2d(3, 4, 3).to(device), torch.randn(1, 3, 8, 8)
    assert layer(x.to(device)).device.type == device
    assert torch.equal(x.to(device).cpu(), x) and torch.rand(2, device=device).device.type == device
    for wrong in (lambda: layer(x), lambda: x.to(device) + x, lambda: torch.cat([x.to(device), x])):
        with pytest.raises(RuntimeError, match="same device"):
            wrong()
    with pytest.raises(RuntimeError, match="numpy"):
        x.to(device).numpy()


@pytest.mark.parametrize(
    ("make", "change"),
    [
        pytest.param(DadfiTrainer, {}, id="everything"),
        pytest.param(DadfiTrainer, {"teacher": "per-image", "masking": True, "dynamic": 1.0}, id="a teacher an image"),
        pytest.param(DadfiTrainer, {"gradient": "query", "query_directions": 1}, id="queries only"),
        pytest.param(InitiativeTrainer, {"transforms": False}, id="surrogates"),
    ],
)
def test_the_generator_is_trained_there(
    make: type[DadfiTrainer], change: dict[str, Any], tmp_path: Path, device: str, faces: Faces, target: Target
) -> None:
    def new(where: str) -> DadfiTrainer:
        trainer = make(replace(TINY, **change, device=where), faces, [target], validation=faces)
        trainer.prepare()
        return trainer

    ends = _both_ways(new, tmp_path, device)
    assert isinstance(next(ends[device].generator.parameters()).data, There)
    folder = tmp_path / device
    assert (folder / "sheet-000002.png").read_bytes() == (tmp_path / "cpu" / "sheet-000002.png").read_bytes()
    if not change:
        card = release_generator(ends[device].generator, folder, name="made", image_size=0, run={}, text="")
        assert card.file.is_file() and (folder / "made.safetensors").is_file()


@pytest.mark.parametrize("family", FAMILIES)
def test_deepfake_models_are_trained_there(family: str, tmp_path: Path, device: str, faces: Faces) -> None:
    trainer, config = FAMILIES[family]
    ends = _both_ways(lambda where: trainer(replace(config, bf16=False, device=where), faces), tmp_path, device)
    last = ends[device]
    shape = {"image_size": config.image_size, "edit_size": last.rule.size}
    model = InTraining(last)
    labels = last.labels.numpy()
    assert model.fake(faces.pixels[:2] / np.float32(255), model.edits(labels[:2])[0]).shape == (2, 3, 32, 32)
    if family == "stargan2":  # it has styles beside its network
        release_deepfake(last.kept, tmp_path, name="made", family=family, facts=last.facts(), text="", **shape)


def test_the_classifier_is_trained_there(device: str, faces: Faces) -> None:
    shares = []
    for where in (device, "cpu"):
        trainer = AttributesTrainer(AttributesConfig(image_size=32, width=4, batch=4, steps=2, device=where), faces)
        trainer.step(0, torch.Generator().manual_seed(0))
        shares.append(accuracy(trainer.model, faces).tolist())
    assert shares[0] == shares[1]


def _both_ways(new: Callable[[str], Any], folder: Path, device: str) -> dict[str, Any]:
    """The trainers after two steps, on ``device`` with a checkpoint between them, on the CPU without; losses alike."""
    by_device: dict[str, list[dict[str, float]]] = {device: [], "cpu": []}
    ends = {}
    for where, losses in by_device.items():
        for steps in (1, 2) if where == device else (2,):
            ends[where] = trainer = new(where)
            trainer.step = _recorded(trainer, losses)
            if steps == 1:  # what is reported after the second step is enough
                trainer.report = lambda folder, number: None
            run(trainer, steps=steps, seed=0, folder=folder / where)
    for there, here in zip(by_device[device], by_device["cpu"], strict=True):
        assert there == pytest.approx(here, rel=1e-3, abs=1e-5)  # PyTorch picks other kernels for convolutions
    return ends
