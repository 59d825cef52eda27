from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import GeneratorFile, load_generator_file
from dadfi_fast.backends.onnxruntime import OnnxRuntime
from dadfi_fast.backends.openvino import OpenVINO
from dadfi_fast.backends.torch import Torch
from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.export import generator, parity
from dadfi_fast.model_card import cards
from dadfi_fast.types import LEVELS, Float32


class Constant(Backend):
    """Puts out one value everywhere."""

    name = "constant"
    value = 0.0
    devices: ClassVar[Mapping[str, tuple[str, ...]]] = {"cpu": ("f32", "bf16")}

    @classmethod
    def missing(cls) -> str | None:
        return None

    def run(self, crops: Float32) -> Float32:
        return np.full_like(crops, self.value)


def constant(generator_file: GeneratorFile, levels: float, precision: str = "f32") -> Constant:
    backend = Constant(generator_file, precision=precision)
    backend.value = levels / LEVELS
    return backend


class TestCompare:
    def test_figures_are_in_levels(self, released: GeneratorFile) -> None:
        grey = np.zeros((1, 3, 16, 16), np.float32)  # 127.5 levels: half a level either way is another whole one
        comparison = parity.compare(constant(released, 3), constant(released, 1), [grey, grey])
        assert (comparison.largest, comparison.rms) == (pytest.approx(2, rel=1e-4), pytest.approx(2, rel=1e-4))
        assert (comparison.pixels, comparison.backend, comparison.against) == (
            1.0,
            "constant-cpu f32",
            "constant-cpu f32",
        )

    def test_differences_that_a_file_cannot_hold_change_no_pixel(self, released: GeneratorFile) -> None:
        whole = np.full((1, 3, 16, 16), 1 / LEVELS - 1, np.float32)
        assert parity.compare(constant(released, 0.4), constant(released, 0), [whole]).pixels == 0

    def test_the_largest_of_all_batches_counts(self, released: GeneratorFile) -> None:
        backend = Torch(released, threads=1)
        flat, busy = np.zeros((1, 3, 16, 16), np.float32), parity.pictures(1, size=32)
        both = parity.compare(backend, constant(released, 0), [flat, busy])
        assert both.largest == max(
            parity.compare(backend, constant(released, 0), [each]).largest for each in (flat, busy)
        )

    @pytest.mark.parametrize(
        ("levels", "precision", "judged", "within"),
        [
            (0.005, "f32", None, False),  # small, but everywhere
            (0.0005, "f32", None, True),
            (0.015, "f32", "f16", True),  # a file in float16
            (0.09, "bf16", None, True),
            (0.2, "bf16", None, False),
        ],
    )
    def test_limits_go_by_precision(
        self, released: GeneratorFile, levels: float, precision: str, judged: str | None, within: bool
    ) -> None:
        grey = np.zeros((1, 3, 16, 16), np.float32)
        backend = constant(released, levels, precision)
        assert parity.compare(backend, constant(released, 0), [grey], precision=judged).within is within


@pytest.mark.parametrize("name", [card.name for card in cards() if card.family == "generator"])
def test_all_that_run_a_generator_that_ships_agree(name: str) -> None:
    """Any two, within the limits of the one that is less exact."""
    running, missing = parity.runners(load_generator_file(name), ("onnxruntime", "openvino", "torch"))
    assert [each.precision for each in running] == ["f32", "f32", "bf16", "f32", "bf16"] and missing == []
    crops = [parity.pictures(2)]
    for one, other in itertools.combinations(running, 2):
        precision = "bf16" if "bf16" in (one.precision, other.precision) else "f32"
        comparison = parity.compare(one, other, crops, precision=precision)
        assert comparison.within, comparison
        assert comparison.pixels < 0.05


class TestLayers:
    @pytest.mark.parametrize("kind", [OnnxRuntime, OpenVINO])
    def test_every_layer_agrees(self, released: GeneratorFile, kind: type[Backend]) -> None:
        crops = parity.pictures(1, size=32)
        layers = parity.layers(kind(released, threads=1, precision="f32"), Torch(released, threads=1), crops)
        names = [layer.name for layer in layers]
        assert names[0] == "down.0" and names[3:5] == ["blocks.0.first", "blocks.0.second"] and names[-1] == "delta"
        assert len(names) == 14
        assert all(layer.largest < 1e-3 * layer.peak for layer in layers)
        assert all(layer.peak > 0.5 for layer in layers[:-1])  # they are not zeros that agree

    def test_the_layer_that_differs_is_found(self, released: GeneratorFile) -> None:
        other = Torch(released, threads=1)
        other.generator.blocks[1].second.bias.data += 0.5
        layers = parity.layers(OnnxRuntime(released, threads=1), other, parity.pictures(1, size=32))
        wrong = [layer.name for layer in layers if layer.largest > 1e-2 * layer.peak]
        assert wrong[0] == "blocks.1.second"

    def test_a_file_in_half_can_be_looked_into(self, released: GeneratorFile, tmp_path: Path) -> None:
        half = generator.write(generator.read(str(released.onnx)), tmp_path, narrow=True)
        crops = parity.pictures(1, size=32)
        layers = parity.layers(OnnxRuntime(half, threads=1), Torch(released, threads=1), crops)
        assert all(0 < layer.largest < 2e-2 * layer.peak for layer in layers)

    def test_engines_cannot_be_looked_into(self, released: GeneratorFile) -> None:
        closed = constant(released, 0)
        closed.devices = {"cuda": ("f16",)}  # type: ignore[misc]
        with pytest.raises(UsageError, match="inside its engine"):
            parity.layers(closed, closed, parity.pictures(1, size=32))


class TestRunners:
    def test_each_precision_is_a_runner(self, released: GeneratorFile) -> None:
        runners, missing = parity.runners(released, ("openvino", "onnxruntime", "torch"))
        assert [each.describe for each in runners] == [
            "openvino-cpu f32",
            "openvino-cpu bf16",
            "onnxruntime-cpu f32",
            "torch-cpu f32",
            "torch-cpu bf16",
        ]
        assert missing == []

    def test_what_cannot_run_says_why(self, released: GeneratorFile) -> None:
        runners, missing = parity.runners(replace(released, safetensors=None), ("torch",))
        assert runners == [] and missing[0].startswith("torch: ") and "safetensors is missing" in missing[0]

    def test_one_precision_on_demand(self, released: GeneratorFile) -> None:
        runners, _ = parity.runners(released, ("openvino",), precision="f32")
        assert [each.describe for each in runners] == ["openvino-cpu f32"]


class TestReference:
    def test_it_is_torch(self, released: GeneratorFile) -> None:
        assert parity.reference(released).describe == "torch-cpu f32"

    def test_without_weights_for_torch_it_is_the_next(self, released: GeneratorFile) -> None:
        assert parity.reference(replace(released, safetensors=None)).describe == "onnxruntime-cpu f32"

    def test_without_anything_it_says_what_mends_it(
        self, released: GeneratorFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for kind in (Torch, OnnxRuntime, OpenVINO):
            monkeypatch.setattr(kind, "missing", classmethod(lambda cls: "gone"))
        with pytest.raises(BackendMissing, match="pip install"):
            parity.reference(released)


class TestCrops:
    def test_noise_is_like_pictures(self) -> None:
        pictures = parity.pictures(2, size=64)
        assert pictures.shape == (2, 3, 64, 64) and pictures.dtype == np.float32 and np.abs(pictures).max() <= 1
        assert np.array_equal(pictures, parity.pictures(2, size=64))  # the same on every machine
        step = np.abs(np.diff(pictures, axis=-1)).mean()
        assert step < 0.5 * pictures.std()  # neighbours are alike, as in pictures

    def test_faces_of_photos(self, examples: Path) -> None:
        crops = parity.photo_crops(examples, size=64, most=3)
        assert crops.shape == (3, 3, 64, 64)

    def test_photos_without_a_face(self, tmp_path: Path) -> None:
        Image.new("RGB", (200, 200)).save(tmp_path / "black.png")
        (tmp_path / "notes.txt").write_text("no photo")
        with pytest.raises(UsageError, match="no face found"):
            parity.photo_crops(tmp_path, size=64)
