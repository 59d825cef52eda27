"""A generator made on the spot, in the form in which every backend takes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dadfi_fast.backends.artifact import Artifact, load_artifact
from dadfi_fast.export.release import release_generator
from dadfi_fast.models.generator import Generator


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Preset s with random weights whose perturbation uses the whole range."""
    folder: Path = tmp_path_factory.mktemp("generator")
    torch.manual_seed(3)
    generator = Generator("s", lim=0.05)
    with torch.no_grad():
        generator.up[-1].weight.mul_(4)
    release_generator(generator, folder, name="generator-test", run={"command": "none"}, text="Random weights.")
    return load_artifact(str(folder / "generator-test.onnx"))
