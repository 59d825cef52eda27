from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.openvino import OpenVINO
from dadfi_fast.backends.openvino_core import core
from dadfi_fast.errors import DiskError
from dadfi_fast.export import generator, openvino
from dadfi_fast.types import LEVELS


@pytest.mark.parametrize(("narrow", "levels"), [(False, 1e-6), (True, 0.25)])
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 24, 40)], ids=str)  # both from one file
def test_it_is_the_same_generator(
    released: GeneratorFile, tmp_path: Path, narrow: bool, levels: float, shape: tuple[int, ...]
) -> None:
    path = openvino.write(generator.read(str(released.onnx)), tmp_path, narrow=narrow)
    assert path.name == ("toy-f16.xml" if narrow else "toy.xml")
    crops = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    result, was = (
        OpenVINO(each, threads=1, precision="f32")(crops) for each in (replace(released, onnx=path), released)
    )
    assert np.abs(result - was).max() * LEVELS <= levels


def test_the_file_says_what_it_is(released: GeneratorFile, tmp_path: Path) -> None:
    path = openvino.write(generator.read(str(released.onnx)), tmp_path)
    model = core().read_model(path)
    said = {key: model.get_rt_info(["dadfi", key]).astype(str) for key in ("generator", "lim", "preset", "range")}
    assert said == {"generator": released.sha256, "lim": "0.04", "preset": "s", "range": "[-1, 1]"}


def test_half_takes_half_the_room(released: GeneratorFile, tmp_path: Path) -> None:
    source = generator.read(str(released.onnx))
    full, half = (openvino.write(source, tmp_path, narrow=narrow).with_suffix(".bin") for narrow in (False, True))
    assert half.stat().st_size < 0.6 * full.stat().st_size


def test_a_folder_that_cannot_be_made_is_told(released: GeneratorFile, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="cannot write"):
        openvino.write(generator.read(str(released.onnx)), tmp_path / "file" / "out")
