"""The generator that ships, pictures, and a module that answers as TensorRT does, on the CPU."""

from __future__ import annotations

import ctypes
import enum
import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dadfi_fast.backends.generator_file import GeneratorFile, load_generator_file
from dadfi_fast.backends.tensorrt import build
from dadfi_fast.types import Float32


@pytest.fixture(scope="session")
def generator() -> GeneratorFile:
    return load_generator_file()


@pytest.fixture
def pictures() -> Float32:
    """Two crops [2, 3, 32, 48] in [-1, 1]."""
    return np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 48)).astype(np.float32)


@pytest.fixture
def flavour(monkeypatch: pytest.MonkeyPatch) -> build.Flavour:
    """A TensorRT whose module is `_module`: it builds for the GPU that is there, and runs on the CPU."""
    fake = build.Flavour("tensorrt", ("fake_tensorrt",), (10, 16), "pip install it", ahead_of_time=False)
    module = _module()
    monkeypatch.setattr(build.Flavour, "load", lambda self: module)
    monkeypatch.setattr(build.Flavour, "installed", property(lambda self: True))
    return fake


@pytest.fixture(autouse=True)
def engines_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests keep their engines to themselves."""
    folder = tmp_path_factory.mktemp("engines")
    monkeypatch.setenv("DADFI_ENGINES", str(folder))
    return folder


def _module() -> Any:
    """What this project uses of ``tensorrt``, with the rules that the real one has; ONNX Runtime does the sums."""
    module: Any = types.ModuleType("fake_tensorrt")
    vars(module).update(
        __version__="11.4.1",
        ILogger=_ILogger,
        Builder=_Builder,
        OnnxParser=_Parser,
        Runtime=_Runtime,
        NetworkDefinitionCreationFlag=types.SimpleNamespace(STRONGLY_TYPED=1),
        ExecutionContextAllocationStrategy=types.SimpleNamespace(USER_MANAGED="user"),
        IRuntimeConfig=_RuntimeConfig,
        IRuntimeCache=_RuntimeCache,
        CudaGraphStrategy=types.SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole"),
        DynamicShapesKernelSpecializationStrategy=types.SimpleNamespace(EAGER="eager"),
    )
    return module


class _ILogger:
    class Severity(enum.IntEnum):
        ERROR = 1
        WARNING = 2

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


class _Network:
    model = b""


class _Builder:
    def __init__(self, log: _ILogger) -> None:
        self.log = log

    def create_network(self, flags: int) -> _Network:
        assert flags == 1 << 1
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> dict[str, Any]:
        return _Shapes()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        if not config.profiles:
            self.log.log(_ILogger.Severity.ERROR, "there is no profile")
            self.log.log(_ILogger.Severity.WARNING, "something else")
            return None
        return json.dumps([config.profiles, len(network.model)]).encode() + b"\n" + network.model


class _Shapes(dict[str, Any]):
    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self[name] = shapes


class _Timings:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data + b"+"


class _Config:
    def __init__(self) -> None:
        self.profiles: list[Any] = []
        self.timings: _Timings

    def add_optimization_profile(self, shapes: _Shapes) -> int:
        least, usual, most = shapes["crops"]
        if any(not a <= b <= c for a, b, c in zip(least, usual, most, strict=True)):
            return -1
        self.profiles.append([least, usual, most])
        return len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> _Timings | None:
        return None if data == b"damaged" else _Timings(data)

    def set_timing_cache(self, timings: _Timings, ignore: bool) -> bool:
        assert isinstance(timings, _Timings) and not ignore
        self.timings = timings
        return True

    def get_timing_cache(self) -> _Timings:
        return self.timings


class _Parser:
    num_errors = 1

    def __init__(self, network: _Network, log: _ILogger) -> None:
        self.network = network

    def parse(self, model: bytes) -> bool:
        self.network.model = model
        return model != b"no model"

    def get_error(self, index: int) -> Any:
        return types.SimpleNamespace(desc=lambda: f"reason {index}")


class _Runtime:
    def __init__(self, log: _ILogger) -> None:
        self.log = log

    def deserialize_cuda_engine(self, engine: bytes) -> _Engine | None:
        head, _, model = engine.partition(b"\n")
        try:
            profiles, size = json.loads(head)
        except ValueError:
            self.log.log(_ILogger.Severity.ERROR, "this is no engine")
            return None
        assert len(model) == size
        return _Engine(profiles, model)


class _Engine:
    def __init__(self, profiles: list[Any], model: bytes) -> None:
        import onnxruntime

        self.profiles = profiles
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def create_runtime_config(self) -> _RuntimeConfig:
        return _RuntimeConfig()

    def create_execution_context(self, settings: _RuntimeConfig) -> _Context:
        assert settings._memory == "user"
        return _Context(self, settings._cache)


class _RuntimeConfig:
    def __init__(self) -> None:
        self._memory, self._cache = "", _RuntimeCache()

    def set_execution_context_allocation_strategy(self, which: str) -> None:
        self._memory = which

    def create_runtime_cache(self) -> _RuntimeCache:
        return _RuntimeCache()

    def set_runtime_cache(self, cache: _RuntimeCache) -> bool:
        self._cache = cache
        return True


class _RuntimeCache:
    """Holds the shapes that were compiled for; as the real one does, it refuses what another machine compiled."""

    def __init__(self) -> None:
        self._shapes: list[list[int]] = []

    def deserialize(self, blob: bytes) -> bool:
        kind, shapes = json.loads(blob)
        if kind != "this machine":
            return False
        self._shapes = shapes
        return True

    def serialize(self) -> bytes:
        return json.dumps(["this machine", self._shapes]).encode()


class _Context:
    def __init__(self, engine: _Engine, cache: _RuntimeCache) -> None:
        self.engine, self.profile, self.shape, self.memory = engine, 0, (), 0
        self.cache = cache
        self.where: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.profiles[self.profile]
        self.shape = shape
        return name == "crops" and all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))

    def update_device_memory_size_for_shapes(self) -> int:
        assert self.shape, "shapes come first"
        return 64

    def set_device_memory(self, address: int, size: int) -> None:
        assert size == 64
        self.memory = address

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.where[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert self.memory and stream == 0
        if list(self.shape) not in self.cache._shapes:
            self.cache._shapes.append(list(self.shape))
        (delta,) = self.engine.session.run(None, {"crops": self._at("crops").copy()})
        self._at("delta")[:] = delta
        return True

    def _at(self, name: str) -> Float32:
        count = int(np.prod(self.shape))
        floats = (ctypes.c_float * count).from_address(self.where[name])
        return np.frombuffer(floats, np.float32).reshape(self.shape)
