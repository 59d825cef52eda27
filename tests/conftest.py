"""Fixtures that all tests share, and the rule for tests that need a GPU."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dadfi_fast.card import MODELS_VARIABLE
from dadfi_fast.cli.main import main
from dadfi_fast.types import UInt8

# A shell that starts the tests in the background has them ignore Ctrl-C; some of them are about it.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
SIZE = 32


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``gpu`` where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU that torch can use"))


@functools.cache
def _gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _no_added_models(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see what ships, never what the user of this machine has added."""
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path_factory.getbasetemp() / "no-models"))


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def examples() -> Path:
    """The folder of example photos."""
    return ROOT / "examples" / "photos"


@pytest.fixture
def command() -> Callable[..., Result]:
    """Runs ``dadfi-fast ARGUMENTS...`` in this process; exceptions that are our bugs are raised."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False, prog_name="dadfi-fast")

    return run


@pytest.fixture
def smooth() -> Callable[[int, int], UInt8]:
    """Makes a picture [height, width, 3] of soft colour gradients, which a codec keeps well."""

    def make(height: int, width: int) -> UInt8:
        y, x = np.mgrid[0:height, 0:width]
        waves = [np.sin(x / 23 + y / 31), np.cos(x / 37 - y / 17), np.sin((x + 2 * y) / 41)]
        return np.stack([127.5 + 90 * wave for wave in waves], axis=-1).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def toy_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny models with their cards, whose answers are known by hand.

    The deepfake models add 0.5 to every value if any target label is 1, else nothing. ``fragile`` also amplifies what
    differs between neighbouring pixels, so that any fine pattern breaks it; ``sturdy`` does not. The classifier calls
    dark pictures Black_Hair and Young, bright ones Blond_Hair and Young, mid-grey ones (mean within 0.01 of 0) Young.
    """
    folder = tmp_path_factory.mktemp("weights")
    _write(folder, "fragile", "stargan", _deepfake(gain=40.0))
    _write(folder, "sturdy", "stargan", _deepfake(gain=0.0))
    _write(folder, "seer", "attributes", _classifier())
    return folder


def _write(folder: Path, name: str, family: str, model: bytes) -> None:
    (folder / f"{name}.onnx").write_bytes(model)
    facts = {
        "name": name,
        "family": family,
        "file": f"{name}.onnx",
        "sha256": hashlib.sha256(model).hexdigest(),
        "image_size": SIZE,
        "parameters": 7,
        "licence": "Apache-2.0",
        "labels": list(NAMES),
    }
    front = "\n".join(f"{key} = {value!r}" for key, value in facts.items())
    (folder / f"{name}.md").write_text(f"+++\n{front}\n+++\nA toy.\n", encoding="utf-8")


def _deepfake(gain: float) -> bytes:
    from onnx import helper

    return _model(
        [
            helper.make_node("AveragePool", ["image"], ["smooth"], kernel_shape=[3, 3], pads=[1] * 4),
            helper.make_node("Sub", ["image", "smooth"], ["detail"]),
            helper.make_node("Mul", ["detail", "gain"], ["louder"]),
            helper.make_node("ReduceMax", ["labels"], ["any"], axes=[1], keepdims=1),
            helper.make_node("Reshape", ["any", "shape"], ["place"]),
            helper.make_node("Mul", ["place", "half"], ["shift"]),
            helper.make_node("Add", ["image", "louder"], ["sum"]),
            helper.make_node("Add", ["sum", "shift"], ["fake"]),
        ],
        {"image": ["b", 3, SIZE, SIZE], "labels": ["b", len(NAMES)]},
        {"fake": ["b", 3, SIZE, SIZE]},
        {"gain": np.float32(gain), "half": np.float32(0.5), "shape": np.array([-1, 1, 1, 1])},
    )


def _classifier() -> bytes:
    from onnx import helper

    return _model(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Reshape", ["mean", "shape"], ["column"]),
            helper.make_node("Mul", ["column", "weight"], ["scaled"]),
            helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        ],
        {"image": ["b", 3, SIZE, SIZE]},
        {"logits": ["b", len(NAMES)]},
        {
            "shape": np.array([-1, 1]),
            "weight": np.array([[-1, 1, 0, 0, 0]], np.float32),
            "bias": np.array([[-0.01, -0.01, -1, -1, 1]], np.float32),
        },
    )


def _model(
    nodes: list[object],
    inputs: dict[str, list[object]],
    outputs: dict[str, list[object]],
    constants: dict[str, np.ndarray],
) -> bytes:
    from onnx import TensorProto, checker, helper, numpy_helper

    def declare(entries: dict[str, list[object]]) -> list[object]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in entries.items()]

    fixed = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "toy", declare(inputs), declare(outputs), fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())
