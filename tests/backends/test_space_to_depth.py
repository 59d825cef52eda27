"""The packed outer layers compute what the plain ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dadfi_fast.backends import space_to_depth
from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.backends.openvino_core import core
from dadfi_fast.export.to_onnx import export_generator
from dadfi_fast.models.generator import Generator
from dadfi_fast.types import LEVELS, Float32


def squares(x: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] to [B, 4 C, H/2, W/2], channels ordered (row, column, channel)."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(b, 4 * c, h // 2, w // 2)


def draw(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-4)


SIZE = (6, 10)  # not square


def test_convolution() -> None:
    x, weight = draw(2, 5, *SIZE), draw(3, 5, 3, 3)
    got = F.conv2d(squares(x), torch.from_numpy(space_to_depth.convolution(weight.numpy())), padding=1)
    assert close(got, squares(F.conv2d(x, weight, padding=1)))


def test_stride_2_convolution() -> None:
    x, weight = draw(2, 3, *SIZE), draw(5, 3, 3, 3)
    got = F.conv2d(x, torch.from_numpy(space_to_depth.stride_2_convolution(weight.numpy())), stride=2, padding=1)
    assert close(got, squares(F.conv2d(x, weight, padding=1)))


def test_downward_convolution() -> None:
    x, weight = draw(2, 5, *SIZE), draw(3, 5, 3, 3)
    padded = F.pad(squares(x), (1, 0, 1, 0))
    got = F.conv2d(padded, torch.from_numpy(space_to_depth.downward_convolution(weight.numpy())))
    assert close(got, F.conv2d(x, weight, stride=2, padding=1))


def test_transposed_convolution() -> None:
    x, weight = draw(2, 5, 3, 5), draw(5, 3, 4, 4)
    got = F.conv2d(x, torch.from_numpy(space_to_depth.transposed_convolution(weight.numpy())), padding=1)
    assert close(got, squares(F.conv_transpose2d(x, weight, stride=2, padding=1)))


def run(model: Any, crops: Float32) -> Float32:
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    return np.array(next(iter(compiled(crops).values())))


@pytest.mark.parametrize("bound", ["tanh", "clamp"])
def test_generator_gives_the_same(bound: Any, tmp_path: Path) -> None:
    file = tmp_path / "generator.onnx"
    export_generator(_trained(Generator("s", bound=bound)), file)
    plain, changed = (core().read_model(file) for _ in range(2))
    before = {op.get_friendly_name() for op in changed.get_ops()}
    assert space_to_depth.pack(changed)
    assert {op.get_friendly_name() for op in changed.get_ops()} != before
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 24, 40)).astype(np.float32)
    truth = run(plain, x)
    assert np.abs(truth).max() > 0.01  # the comparison is not of zeros
    assert np.abs(run(changed, x) - truth).max() * LEVELS < 0.002


def test_shipped_generator_is_packed() -> None:
    assert space_to_depth.pack(core().read_model(load_generator_file("generator-s").onnx))


def test_wide_generator_stays(tmp_path: Path) -> None:
    file = tmp_path / "generator.onnx"
    export_generator(_trained(Generator("m")), file)
    assert not space_to_depth.pack(core().read_model(file))


def test_other_models_stay(tmp_path: Path) -> None:
    """Weights that are all alike are stored once, under one name."""
    file = tmp_path / "generator.onnx"
    export_generator(Generator("s"), file)
    model = core().read_model(file)
    count = len(model.get_ops())
    assert not space_to_depth.pack(model)
    assert len(model.get_ops()) == count


def _trained(generator: Generator) -> Generator:
    """Norms with weights of their own, as after training."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return generator
