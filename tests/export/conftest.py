"""A generator with random weights, as files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dadfi_fast.backends.generator_file import GeneratorFile, load_generator_file
from dadfi_fast.export.release import release_generator
from dadfi_fast.models.generator import Generator


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> GeneratorFile:
    """``toy``: preset s, lim 0.04."""
    folder: Path = tmp_path_factory.mktemp("released")
    torch.manual_seed(0)
    run = {"command": "none", "seed": 7}
    release_generator(Generator("s", lim=0.04), folder, name="toy", image_size=0, run=run, text="Random weights.")
    return load_generator_file(str(folder / "toy.onnx"))


@pytest.fixture(scope="session")
def gated(tmp_path_factory: pytest.TempPathFactory) -> GeneratorFile:
    """``gated``: as `released`, with a gate."""
    folder: Path = tmp_path_factory.mktemp("gated")
    torch.manual_seed(0)
    release_generator(Generator("s", lim=0.04, gated=True), folder, name="gated", image_size=0, run={}, text="")
    return load_generator_file(str(folder / "gated.onnx"))
