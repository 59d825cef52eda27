"""Fixtures that all tests share, and the rules for tests that need a GPU or packages beyond the extra `test`."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import signal
from collections.abc import Callable, Generator
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


#: The extras of `test-all` that `test` is without, and the modules that a test marked ``extras`` relies on.
EXTRAS = {
    "dali": ("nvidia", "nvidia.dali", "nvidia.nvimgcodec"),
    "ray": ("ray",),
    "s3": ("s3fs", "moto", "flask", "flask_cors"),
    "tensorrt-rtx": ("tensorrt_rtx_bindings",),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option for the step of continuous integration that has all extras."""
    words = "run the tests marked `extras` alone; one that is skipped for anything but a GPU fails"
    parser.addoption("--extras", action="store_true", help=words)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is marked ``gpu`` where there is none, and what is marked ``extras`` where packages are missing."""
    if config.getoption("extras"):
        others = [item for item in items if not item.get_closest_marker("extras")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.get_closest_marker("extras")]
    for item in items:
        if item.get_closest_marker("gpu") and not _gpu():
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU that torch can use"))
        for extra in [name for mark in item.iter_markers("extras") for name in mark.args]:
            if (module := _absent(extra)) is not None:
                mend = f"run: pip install 'dadfi-fast[{extra}]', or [test-all] for all of these"
                item.add_marker(pytest.mark.skip(reason=f"{module} is not installed; {mend}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where all extras are promised, a test that does not run is a failure and no line among many."""
    report = yield
    if report.skipped and item.config.getoption("extras"):
        *_, reason = report.longrepr  # type: ignore[misc]  # of a skip: file, line, reason
        if "GPU" not in reason:
            report.outcome, report.longrepr = "failed", f"{reason} (with --extras no package may be missing)"
    return report


@functools.cache
def _absent(extra: str) -> str | None:
    """The first module of an extra that is not installed. Loads none."""
    return next((name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None), None)


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
