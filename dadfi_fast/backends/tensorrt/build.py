"""TensorRT 10.16 and later, and TensorRT for RTX: what both have, behind one set of functions.

The two are one interface with small differences, which stand here and nowhere else. Networks are strongly typed: an
engine computes in the types that the ONNX file says (`half` writes one in float16).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dadfi_fast.backends.generator_file import IMAGE_SIZE
from dadfi_fast.errors import BackendMissing, DadfiError, UsageError
from dadfi_fast.ops import node
from dadfi_fast.ops.fast import KERNELS

#: The input of a generator.
CROPS: Final = "crops"
#: The output.
DELTA: Final = "delta"


@dataclass(frozen=True)
class Flavour:
    """One of the two products."""

    name: str  # as `--backend` and `--to` call it
    modules: tuple[str, ...]  # the first that is there is taken
    oldest: tuple[int, int]
    install: str
    ahead_of_time: bool  # builds for any GPU, without one; else for the one that is there
    plugins: bool = False  # whether it takes our kernels

    @property
    def installed(self) -> bool:
        """Whether a module is there; loads nothing."""
        return any(importlib.util.find_spec(name) is not None for name in self.modules)

    def missing(self) -> str | None:
        """Why it cannot be used here, and the command that fixes it. Loads it only if it is there."""
        try:
            module = self.load()
        except BackendMissing as error:
            return str(error)
        if _version(module) < self.oldest:
            oldest = ".".join(map(str, self.oldest))
            return f"{self.name} {module.__version__} is older than {oldest}; run: {self.install}"
        return None

    def load(self) -> Any:
        """The module.

        Raises:
            BackendMissing: it is not installed, or its libraries do not load.
        """
        for name in self.modules:
            if importlib.util.find_spec(name) is not None:
                try:
                    return importlib.import_module(name)
                except (ImportError, OSError) as error:
                    raise BackendMissing(f"cannot load {name} ({error}). Run: {self.install}") from error
        raise BackendMissing(f"{self.name} is not installed. Run: {self.install}")


TENSORRT: Final = Flavour(
    "tensorrt", ("tensorrt",), (10, 16), "pip install 'dadfi-fast[tensorrt]'", ahead_of_time=False, plugins=True
)
TENSORRT_RTX: Final = Flavour(
    "tensorrt-rtx",
    ("tensorrt_rtx", "tensorrt_rtx_bindings"),
    (1, 7),
    "pip install 'dadfi-fast[tensorrt-rtx]'",
    ahead_of_time=True,
)


@dataclass(frozen=True)
class Profile:
    """The shapes that an engine takes, and the one that it is tuned for."""

    batch: tuple[int, int, int]  # least, usual, most crops
    size: tuple[int, int, int]  # least, usual, most pixels a side

    def holds(self, shape: Sequence[int]) -> bool:
        """Whether crops of ``shape`` [B, 3, H, W] may go in."""
        (least, _, most), (small, _, large) = self.batch, self.size
        return least <= shape[0] <= most and small <= min(shape[2:]) and max(shape[2:]) <= large

    def shapes(self) -> list[tuple[int, int, int, int]]:
        """Least, usual and most, as [B, 3, H, W]."""
        return [(batch, 3, size, size) for batch, size in zip(self.batch, self.size, strict=True)]


def profiles(size: int) -> tuple[Profile, ...]:
    """One for a single face, one for batches, tuned for crops of ``size`` pixels a side."""
    return Profile((1, 1, 1), (16, size, 512)), Profile((1, 16, 32), (16, size, 512))


#: Those of a generator whose card names no size.
PROFILES: Final = profiles(IMAGE_SIZE)


@dataclass(frozen=True)
class Built:
    """A serialised engine, and what makes the next build faster (empty where there is nothing)."""

    engine: bytes
    timings: bytes


def build(
    flavour: Flavour,
    model: bytes,
    *,
    profiles: Sequence[Profile] = PROFILES,
    architecture: str | None = None,
    timings: bytes = b"",
) -> Built:
    """Build an engine from an ONNX file. Fused nodes in it are run by our kernels where the flavour takes plugins.

    Args:
        flavour: which product.
        model: the file.
        profiles: the shapes it is to take, at least one.
        architecture: ``sm89`` and the like, for a flavour that builds ahead of time; the GPU that is there if None.
        timings: what an earlier build left as `Built.timings`.

    Raises:
        UsageError: the architecture is none that the flavour knows, or cannot be chosen.
        BackendMissing: the kernels for fused nodes cannot be compiled here.
        DadfiError: the file cannot be read, or no engine can be built from it; the message says what it said.
    """
    trt, log = flavour.load(), _log(flavour.load())
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if flavour.plugins and node.used(model):
        KERNELS["tensorrt"]()()
        model = node.bare(model)
    if not parser.parse(model):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise DadfiError(f"{flavour.name} cannot read the generator: {reasons}")
    config = builder.create_builder_config()
    _add_profiles(builder, config, profiles)
    if flavour.ahead_of_time:
        config.num_compute_capabilities = 1
        config.set_compute_capability(_capability(trt, flavour, architecture), 0)
    elif architecture is not None:
        raise UsageError(f"{flavour.name} builds only for the GPU in this machine. Remove the architecture.")
    else:
        # None stands for timings that it cannot read; it then starts with none.
        config.set_timing_cache(config.create_timing_cache(timings) or config.create_timing_cache(b""), False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise DadfiError(f"{flavour.name} built no engine: {log.said()}")
    return Built(bytes(engine), b"" if flavour.ahead_of_time else bytes(config.get_timing_cache().serialize()))


def architectures(flavour: Flavour) -> list[str]:
    """What a flavour that builds ahead of time can build for: ``sm80``, ``sm89``, ..."""
    names = flavour.load().ComputeCapability.__members__
    return [name.lower() for name in names if re.fullmatch(r"SM\d+", name)]


def deserialise(flavour: Flavour, engine: bytes) -> Any:
    """The engine, ready to make contexts on the current GPU.

    Raises:
        DadfiError: it is not for this machine, or damaged; the message says what it said.
    """
    trt, log = flavour.load(), _log(flavour.load())
    runtime = trt.Runtime(log)
    loaded = runtime.deserialize_cuda_engine(engine)
    if loaded is None:
        raise DadfiError(f"{flavour.name} cannot load the engine: {log.said()}")
    return loaded


def version(flavour: Flavour) -> str:
    """Name and version, as rows and engines record them."""
    return f"{flavour.name} {flavour.load().__version__}"


def _add_profiles(builder: Any, config: Any, profiles: Sequence[Profile]) -> None:
    assert profiles, "an engine needs a profile"
    for profile in profiles:
        shapes = builder.create_optimization_profile()
        shapes.set_shape(CROPS, *profile.shapes())
        if config.add_optimization_profile(shapes) < 0:
            raise UsageError(f"cannot build an engine for {profile}: batch and size need min <= opt <= max")


def _capability(trt: Any, flavour: Flavour, architecture: str | None) -> Any:
    if architecture is None:
        return trt.ComputeCapability.CURRENT
    known = architectures(flavour)
    if architecture.lower() not in known:
        raise UsageError(f"{flavour.name} does not build for {architecture!r}. Available: {', '.join(known)}")
    return trt.ComputeCapability.__members__[architecture.upper()]


def _version(module: Any) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", module.__version__)[:2]
    return int(major), int(minor)


@functools.cache
def _log_class(ilogger: Any) -> Callable[[], Any]:
    """A logger that keeps errors, for our own messages, and lets nothing through to the terminal."""

    class Log(ilogger):  # type: ignore[misc]
        def __init__(self) -> None:
            ilogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= ilogger.Severity.ERROR:
                self.errors.append(message)

        def said(self) -> str:
            """What went wrong since the last call."""
            errors, self.errors = self.errors, []
            return "; ".join(errors) or "it gave no reason"

    return Log


@functools.cache
def _log(trt: Any) -> Any:
    """One for each module, and for good: what is made with it uses it until the process ends."""
    return _log_class(trt.ILogger)()
