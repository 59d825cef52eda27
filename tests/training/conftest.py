"""Small labelled pictures and an untrained deepfake model to train against."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.edits import ATTRIBUTES, Targets
from dadfi_fast.deepfakes.stargan import Generator
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.training import validate
from dadfi_fast.training.data import Faces


@pytest.fixture(autouse=True)
def a_short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small picture is enough to see that the JPEG equivalent is measured; `tests/cli/test_train.py` has more."""
    monkeypatch.setattr(validate, "LOOKED_AT", 1)
    monkeypatch.setattr(validate, "SEEN_AT", 64)


@pytest.fixture
def faces() -> Faces:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 3, 4, 4), dtype=np.uint8)
    pixels = coarse.repeat(8, axis=2).repeat(8, axis=3)
    labels = torch.from_numpy(rng.integers(0, 2, (12, 5)).astype(np.float32))
    return Faces(pixels, tuple(f"{i}.png" for i in range(12)), labels)


@pytest.fixture
def target() -> Target:
    torch.manual_seed(0)
    model = Editor(Generator(conv_dim=4, repeat_num=1), image_size=16).eval().requires_grad_(False)
    return Target("tiny", model, "0" * 64, Targets(ATTRIBUTES))
