"""What every backend promises, on the same crops; PyTorch in float32 is the truth."""

from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.registry import BACKENDS
from dadfi_fast.errors import UsageError
from dadfi_fast.types import LEVELS, Float32

#: Backend, precision, and the largest difference to float32 PyTorch, in levels of 0-255.
CASES = [
    pytest.param("torch", "f32", 0.0, id="torch-f32"),
    pytest.param("torch", "bf16", 1.0, id="torch-bf16"),  # 8 bits of mantissa through ten layers
    pytest.param("openvino", "f32", 0.01, id="openvino-f32"),
    pytest.param("openvino", "bf16", 1.0, id="openvino-bf16"),
    pytest.param("onnxruntime", "f32", 0.01, id="onnxruntime-f32"),
]


def make(name: str, generator_file: GeneratorFile, precision: str) -> Backend:
    backend = BACKENDS[name]()
    assert backend.missing() is None  # the extra `test` brings them all: one that is not compared is a fault
    return backend(generator_file, threads=2, precision=precision)


def crops(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize(("name", "precision", "levels"), CASES)
class TestContract:
    @pytest.mark.parametrize(
        "shape",
        [
            (1, 3, 64, 64),
            (3, 3, 48, 80),  # not square
            (2, 3, 37, 53),  # odd sizes: padded and cropped back
            (1, 3, 16, 16),  # the smallest
        ],
        ids=str,
    )
    def test_agrees_with_torch(
        self, name: str, precision: str, levels: float, shape: tuple[int, ...], generator_file: GeneratorFile
    ) -> None:
        x = crops(*shape)
        delta = make(name, generator_file, precision)(x)
        truth = make("torch", generator_file, "f32")(x)
        assert delta.shape == x.shape and delta.dtype == np.float32
        assert np.abs(truth).max() > 0.5 * generator_file.lim  # the comparison is not of zeros
        assert np.abs(delta - truth).max() * LEVELS <= levels

    def test_keeps_the_bound(self, name: str, precision: str, levels: float, generator_file: GeneratorFile) -> None:
        x = np.sign(crops(2, 3, 32, 32))  # the hardest contrast that a picture can have
        assert np.abs(make(name, generator_file, precision)(x)).max() <= generator_file.lim

    def test_one_picture_does_not_touch_another(
        self, name: str, precision: str, levels: float, generator_file: GeneratorFile
    ) -> None:
        backend, x = make(name, generator_file, precision), crops(3, 3, 32, 32)
        together, alone = backend(x), backend(x[1:2])
        assert np.abs(together[1:2] - alone).max() * LEVELS <= max(levels, 0.01)

    def test_results_are_the_callers(
        self, name: str, precision: str, levels: float, generator_file: GeneratorFile
    ) -> None:
        backend = make(name, generator_file, precision)
        first = backend(crops(1, 3, 32, 32, seed=1))
        kept = first.copy()
        backend(crops(1, 3, 32, 32, seed=2))
        assert np.array_equal(first, kept)

    def test_describes_itself(self, name: str, precision: str, levels: float, generator_file: GeneratorFile) -> None:
        assert make(name, generator_file, precision).describe == f"{name}-cpu {precision}"

    def test_refuses_a_device_that_it_has_not(
        self, name: str, precision: str, levels: float, generator_file: GeneratorFile
    ) -> None:
        make(name, generator_file, precision)
        with pytest.raises(UsageError, match="runs on"):
            BACKENDS[name]()(generator_file, device="tpu")

    def test_refuses_what_is_no_crop(
        self, name: str, precision: str, levels: float, generator_file: GeneratorFile
    ) -> None:
        with pytest.raises(AssertionError, match="float32"):
            make(name, generator_file, precision)(crops(1, 3, 32, 32).astype(np.float64))


def test_every_backend_is_in_the_table() -> None:
    """Those that run on a CPU; what runs on a GPU only has tests of its own (tests/backends)."""
    assert {case.values[0] for case in CASES} == {name for name in BACKENDS if "cpu" in BACKENDS[name]().devices}
    assert {name for name in BACKENDS if "cpu" not in BACKENDS[name]().devices} == {"tensorrt", "tensorrt-rtx"}
