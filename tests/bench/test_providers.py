from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dadfi_fast.backends.generator_file import GeneratorFile, load_generator_file
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.backends.torch import Torch
from dadfi_fast.bench import providers
from dadfi_fast.types import LEVELS, Float32


@pytest.fixture(scope="module")
def generator() -> GeneratorFile:
    return load_generator_file()


@pytest.fixture
def crops() -> Float32:
    return np.random.default_rng(0).uniform(-1, 1, (3, 3, 32, 32)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes longer than all the rest; what is compiled is run as it is."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def test_what_is_compiled_is_the_same_network(generator: GeneratorFile, crops: Float32) -> None:
    compiled, plain = providers.Compiled(generator, threads=1), Torch(generator, threads=1)
    assert compiled.describe == "torch.compile-cpu f32"
    assert np.abs(compiled(crops) - plain(crops)).max() * LEVELS < 0.01


def test_what_is_compiled_has_no_operation_that_a_compiler_cannot_see(generator: GeneratorFile) -> None:
    compiled = providers.Compiled(generator, threads=1)
    program = torch.export.export(compiled.generator, (torch.zeros(1, 3, 16, 16),))
    assert "dadfi" not in str(program.graph)


def test_int8_is_nearly_the_same_generator(generator: GeneratorFile, crops: Float32, tmp_path: Path) -> None:
    int8 = providers.quantised(generator, crops, tmp_path)
    apart = np.abs(OnnxRuntime(int8, threads=1)(crops) - OnnxRuntime(generator, threads=1)(crops)) * LEVELS
    assert 0 < np.sqrt(np.square(apart).mean()) < 2
    assert int8.onnx.stat().st_size < generator.onnx.stat().st_size


def test_everything_that_runs_here_is_in_the_field(generator: GeneratorFile, crops: Float32, tmp_path: Path) -> None:
    field = providers.field(generator, crops, tmp_path, label="g")
    names = [each.describe for each in field.runners]
    assert names[0].startswith("openvino-cpu ")
    assert sorted(names) == sorted(
        [
            *("openvino-cpu bf16", "openvino-cpu f32", "openvino-cpu int8"),
            *("onnxruntime-cpu f32", "onnxruntime-cpu int8"),
            *("torch-cpu f32", "torch-cpu bf16", "torch.compile-cpu f32", "torch.compile-cpu bf16"),
        ]
    )
    assert field.missing == ()


def test_what_cannot_run_is_told(generator: GeneratorFile, crops: Float32, tmp_path: Path) -> None:
    lone = GeneratorFile("lone", generator.onnx, None, generator.sha256, generator.lim, generator.preset)
    field = providers.field(lone, crops, tmp_path, label="g")
    assert len([why for why in field.missing if "safetensors is missing" in why]) == 4
    assert not [each for each in field.runners if each.name.startswith("torch")]


def test_rows_and_ratios(generator: GeneratorFile, crops: Float32) -> None:
    fast, exact = OnnxRuntime(generator, threads=1), Torch(generator, threads=1)
    ticks: list[None] = []
    fields = [providers.Field(label, (fast, exact), ()) for label in ("g", "h")]
    rows = providers.run(fields, crops, repeats=1, tick=lambda: ticks.append(None))
    assert [(row.case, row.provider) for row in rows if row.config["generator"] == "g"] == [
        ("g batch 1", "onnxruntime-cpu f32"),
        ("g batch 1", "torch-cpu f32"),
        ("g batch 8", "onnxruntime-cpu f32"),
        ("g batch 8", "torch-cpu f32"),
        ("g batch 1, ratio", "onnxruntime-cpu f32 / torch-cpu f32"),
        ("g batch 8, ratio", "onnxruntime-cpu f32 / torch-cpu f32"),
    ]
    by_name = {(row.case, row.provider): row for row in rows}
    ratio = by_name["h batch 8, ratio", "onnxruntime-cpu f32 / torch-cpu f32"]
    one, other = (by_name["h batch 8", each.describe].p50 for each in (fast, exact))
    assert ratio.p50 == pytest.approx(one / other)
    assert by_name["g batch 1", "torch-cpu f32"].config["largest_difference_levels"] == 0
    assert 0 < by_name["g batch 1", "onnxruntime-cpu f32"].config["largest_difference_levels"] < 0.01
    assert len(ticks) == 2 * providers.count_cases(fields) == 2 * 8
