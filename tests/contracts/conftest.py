"""A generator and deepfake models made on the spot, for the tables of tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dadfi_fast.backends.generator_file import GeneratorFile, load_generator_file
from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.edits import ATTRIBUTES, Targets
from dadfi_fast.deepfakes.stargan import Generator as StarGAN
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.export.release import release_generator
from dadfi_fast.models.generator import Generator


@pytest.fixture(scope="session")
def generator_file(tmp_path_factory: pytest.TempPathFactory) -> GeneratorFile:
    """Preset s with random weights whose perturbation uses the whole range."""
    folder: Path = tmp_path_factory.mktemp("generator")
    torch.manual_seed(3)
    generator = Generator("s", lim=0.05)
    with torch.no_grad():
        generator.up[-1].weight.mul_(4)
    release_generator(
        generator, folder, name="generator-test", image_size=0, run={"command": "none"}, text="Random weights."
    )
    return load_generator_file(str(folder / "generator-test.onnx"))


@pytest.fixture(scope="session")
def targets() -> list[Target]:
    """Two random StarGANs of 16 and 24 px, the second of which changes far less when its picture does."""
    models = []
    for name, size, gain in (("fragile", 16, 4.0), ("sturdy", 24, 0.5)):
        torch.manual_seed(size)
        generator = StarGAN(conv_dim=4, repeat_num=1)
        with torch.no_grad():
            generator.main[-2].weight.mul_(gain)
        model = Editor(generator, image_size=size).eval().requires_grad_(False)
        models.append(Target(name, model, "0" * 64, Targets(ATTRIBUTES)))
    return models
