"""Fixtures that all tests share, and the rules for tests that need a GPU or packages beyond the extra `test`."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import os
import signal
import struct
import sys
import types
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from dadfi_fast.cli.main import main
from dadfi_fast.device import cores
from dadfi_fast.model_card import MODELS_VARIABLE
from dadfi_fast.types import UInt8

# A shell that starts the tests in the background has them ignore Ctrl-C; some of them are about it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# PyTorch takes all cores, whoever else computes. Where tests run side by side, each process has its share of them.
if (beside := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // beside)))

#: The files that take longest, half a minute and more, longest first: where tests run side by side they begin first.
LONGEST = (
    "kernels/test_loader.py",
    "test_gpu_run.py",
    "cli/test_train.py",
    "test_pretend.py",
    "tools/test_train_queue.py",
)

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
SIZE = 32


#: The extras that `test` is without and that continuous integration installs besides, and the modules that a test
#: marked ``extras`` relies on.
EXTRAS = {
    "dali": ("nvidia", "nvidia.dali", "nvidia.nvimgcodec"),
    "ray": ("ray",),
    "s3": ("s3fs", "moto", "flask", "flask_cors"),
    "tensorrt-rtx": ("tensorrt_rtx_bindings",),
    "own-models": ("onnx2pytorch",),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option for the step of continuous integration that has all extras."""
    words = "run the tests marked `extras` alone; one that is skipped for anything but a GPU fails"
    parser.addoption("--extras", action="store_true", help=words)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``--extras``, leave files unread that do not know the marker: importing all of them takes its time."""
    if config.getoption("extras") and collection_path.suffix == ".py":
        return "extras" not in collection_path.read_text(encoding="utf-8") or None
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist hand out files as they are ordered below, and not by how many tests are in them."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is marked ``gpu`` where there is none, and what is marked ``extras`` where packages are missing.

    Where tests run side by side, the longest files come first, then all others with slow tests, so that no process is
    left alone with one.
    """
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        first = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: (first.get(item.path, len(first)), item.path not in slow))
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


@pytest.fixture(autouse=True, scope="session")
def _no_added_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests see what ships, never what the user of this machine has added."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODELS_VARIABLE, str(tmp_path_factory.getbasetemp() / "no-models"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _exporter_reads_its_operators_once() -> Iterator[None]:
    """PyTorch's ONNX exporter reads the same 500 functions at each call, a third of its time; here at the first one."""
    with pytest.MonkeyPatch.context() as patch:
        if "dadfi_fast.export.to_onnx" in sys.modules:
            from torch.onnx._internal.exporter._registration import onnxscript_apis

            patch.setattr(onnxscript_apis, "get_torchlib_ops", functools.cache(onnxscript_apis.get_torchlib_ops))
        yield


@pytest.fixture(scope="module")
def traced_once() -> Iterator[None]:
    """Deepfake models of one form are exported once, as that takes seconds; each file has its own model's weights."""
    import onnx
    import torch

    export, exports = torch.onnx.export, dict[str, bytes]()

    def exported(module: torch.nn.Module, example: tuple[torch.Tensor, ...], **options: Any) -> Any:
        if options["optimize"]:  # weights are folded into others
            return export(module, example, **options)
        state = {name: value.detach().numpy() for name, value in module.state_dict().items()}
        plain = [value for part in module.modules() for key, value in vars(part).items() if key[0] != "_"]
        settings = [value.tolist() if isinstance(value, torch.Tensor) else value for value in plain]
        shapes = {name: value.shape for name, value in state.items()}, [value.shape for value in example]
        form = repr((module, settings, shapes, options["input_names"], options["dynamic_shapes"]))
        if form not in exports:
            program = export(module, example, **options)
            if not state.keys() <= {weight.name for weight in program.model_proto.graph.initializer}:
                return program  # equal weights are stored once
            exports[form] = program.model_proto.SerializeToString()
        model = onnx.load_from_string(exports[form])
        for weight in model.graph.initializer:
            if weight.name in state:
                weight.CopyFrom(onnx.numpy_helper.from_array(state[weight.name], weight.name))
        return types.SimpleNamespace(model_proto=model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", exported)
        yield


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def examples() -> Path:
    """The folder of example photos."""
    return ROOT / "examples" / "photos"


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def network() -> Callable[..., Path]:
    """Writes an ONNX file: its graph in ONNX's text format, then changes of the read model, if any."""

    def write(path: Path, graph: str, change: Callable[[Any], object] | None = None, *, opset: int = 17) -> Path:
        from onnx import parser

        model = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}, "own.ops": 1]> {graph}')
        del model.opset_import[1:]
        if change is not None:
            change(model)
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture
def tried_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that are known to be harmless are tried in this process: another one takes a second to start."""
    from dadfi_fast.deepfakes import onnx_trial, onnx_trial_process

    def watched(folder: str, megabytes: int) -> int:
        onnx_trial_process.main(Path(folder))
        return 0

    monkeypatch.setattr(onnx_trial, "_watched", watched)


@pytest.fixture
def encoded(smooth: Callable[[int, int], UInt8]) -> Callable[..., bytes]:
    """Makes a picture file of height x width in a Pillow format and mode, with options for `Image.save`."""

    def make(form: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (48, 64), **options: Any) -> bytes:
        image = Image.fromarray(smooth(*size)).convert(mode)
        if mode.endswith("A"):
            image.putalpha(Image.fromarray(255 - smooth(*size)[..., 0]))
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of an empty folder in memory."""
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    from fsspec.implementations.memory import MemoryFileSystem

    def clear() -> None:
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]

    clear()
    yield "memory:///shop"
    clear()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine, which the environment names; gone at the end."""
    for name in ("moto", "flask", "s3fs"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str) -> Iterator[str]:
    """The URL of an empty bucket."""
    import s3fs

    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.mkdir("bucket")
    yield "s3://bucket"
    system.rm("bucket", recursive=True)


#: Stands for a camera maker's notes, which point to places in the block.
_MAKER = b"MAKERNOTE-with-offsets-of-its-own"


@pytest.fixture(scope="session")
def exif_block() -> Callable[..., bytes]:
    """Makes an EXIF block; see `_block`."""
    return _block


def _block(*, turn: int | None = 6, gps: bool = True, preview: bytes = b"", order: str = "<") -> bytes:
    """An EXIF block of IFD0 (make, orientation, GPS, MakerNote-like value) and, with a preview, IFD1."""
    p = struct.Struct
    entries: list[tuple[int, int, int, bytes]] = [(0x010F, 2, 8, b"CameraX\0")]
    if turn is not None:
        entries.append((0x0112, 3, 1, p(order + "HH").pack(turn, 0)))
    entries.append((0x927C, 7, len(_MAKER), _MAKER))
    if gps:
        entries.append((0x8825, 4, 1, b"GPS!"))
    first = 8 + 2 + 12 * len(entries) + 4
    heap, table = b"", b""
    for tag, kind, count, value in entries:
        if tag == 0x8825:
            at = first + len(heap)
            latitude = p(order + "6I").pack(51, 1, 30, 1, 12, 1)
            directory = p(order + "H").pack(1) + p(order + "HHII").pack(2, 5, 3, at + 18) + bytes(4)
            heap += directory + latitude
            value = p(order + "I").pack(at)
        elif len(value) > 4:
            value, heap = p(order + "I").pack(first + len(heap)), heap + value
        table += p(order + "HHI").pack(tag, kind, count) + value
    link = 0
    if preview:
        link = first + len(heap)
        at = link + 2 + 24 + 4
        heap += p(order + "H").pack(2) + p(order + "HHII").pack(0x0201, 4, 1, at)
        heap += p(order + "HHII").pack(0x0202, 4, 1, len(preview)) + bytes(4) + preview
    header = (b"II*\0" if order == "<" else b"MM\0*") + p(order + "I").pack(8)
    return header + p(order + "H").pack(len(entries)) + table + p(order + "I").pack(link) + heap
