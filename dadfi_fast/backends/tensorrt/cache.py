"""Engines on disk: found by all that they depend on, and loaded only from where nobody else could have put them.

An engine is machine code: to load one is to run it. So a file counts only if its folder, every folder above it and the
file itself can be written by nobody but the user and the system, and if its content has the hash in its facts.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from dadfi_fast.backends import cuda
from dadfi_fast.backends.float16 import to_float16
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.tensorrt import build
from dadfi_fast.errors import DadfiError, DiskError
from dadfi_fast.files import atomic_write
from dadfi_fast.ops import node
from dadfi_fast.ops.fast import KERNELS

#: The environment variable that names another folder.
VARIABLE: Final = "DADFI_ENGINES"
SUFFIX: Final = ".engine"
_FIX: Final = f"set {VARIABLE} to a folder of your own"


@dataclass(frozen=True)
class EngineFacts:
    """All that an engine depends on: another value is another engine."""

    runtime: str  # "tensorrt 11.4.1.7"
    target: str  # what it was built for: the GPU by name, or an architecture ("sm89")
    driver: str  # the newest CUDA that the driver runs; "" where the engine does not depend on it
    generator: str  # sha256 of the generator
    precision: str
    model: str  # sha256 of the ONNX file that was built, which is the generator's or made from it
    profiles: tuple[build.Profile, ...]
    kernels: str = ""  # digest of our own kernels, which an engine of fused nodes has inside

    @property
    def key(self) -> str:
        """Names the engine's file: readable parts, then a hash of everything."""
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()
        return slug(self.runtime.partition(" ")[0], self.target, self.precision, self.generator[:12], digest[:16])


def slug(*words: str) -> str:
    """A file name from words."""
    return "-".join("".join(c if c.isalnum() else "_" for c in word.lower()) for word in words if word)


def folder() -> Path:
    """Where engines are kept: what ``DADFI_ENGINES`` names, else the user's cache folder; it may not be there yet."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    import platformdirs  # only where it is needed

    return Path(platformdirs.user_cache_path("dadfi-fast", appauthor=False)) / "engines"


def obtain(
    flavour: build.Flavour,
    generator_file: GeneratorFile,
    *,
    precision: str,
    profiles: tuple[build.Profile, ...] | None = None,
    architecture: str | None = None,
    device: str = "cuda",
    where: Path | None = None,
) -> tuple[bytes, Path]:
    """The engine of a generator, and its file: the one that is there, or one that is built now and kept.

    Args:
        flavour: TensorRT or TensorRT for RTX.
        generator_file: the generator.
        precision: ``f16`` (statistics of the norms in float32) or ``f32``.
        profiles: the shapes it is to take; those of `build.profiles` for its crops if None.
        architecture: build for this one (``sm89``) instead of the GPU of ``device``; TensorRT for RTX only.
        device: ``cuda`` or ``cuda:N``.
        where: folder of engines; `folder` if None.

    Raises:
        BackendMissing: there is no GPU, and no architecture was given; or the runtime or onnx is not installed.
        DadfiError: it cannot be built or written, or lies where others can write.
    """
    if where is None and folder().is_dir():
        require_private(folder())  # before the build, which takes its time
    where, profiles = where or folder(), profiles or build.profiles(generator_file.image_size)
    model = generator_file.onnx.read_bytes()
    model = to_float16(model) if precision == "f16" else model
    target, driver = _target(flavour, architecture, device)
    runtime, digest = build.version(flavour), hashlib.sha256(model).hexdigest()
    kernels: str = KERNELS["source"]()() if flavour.plugins and node.used(model) else ""
    facts = EngineFacts(runtime, target, driver, generator_file.sha256, precision, digest, profiles, kernels)
    if (stored := find(facts, where=where)) is not None:
        return stored, where / f"{facts.key}{SUFFIX}"
    timings = where / f"{slug(runtime, target, driver)}.timings"
    known = require_private(timings).read_bytes() if timings.is_file() else b""
    built = build.build(
        flavour, model, profiles=profiles, architecture=target if flavour.ahead_of_time else None, timings=known
    )
    path = store(facts, built.engine, where=where)
    if built.timings:
        atomic_write(timings, built.timings, private=True)
    return built.engine, path


def store(facts: EngineFacts, engine: bytes, *, where: Path | None = None) -> Path:
    """Write an engine with its facts beside it (``NAME.engine``, ``NAME.json``), and say where.

    Args:
        where: the folder; `folder` if None. It is made if it is not there, for the user alone.

    Raises:
        DiskError: it cannot be written.
    """
    where = where or folder()
    path = where / f"{facts.key}{SUFFIX}"
    record = {**asdict(facts), "sha256": hashlib.sha256(engine).hexdigest()}
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_write(path, engine, private=True)
        # Last, as an engine without it is not seen.
        atomic_write(path.with_suffix(".json"), json.dumps(record, indent=2).encode(), private=True)
    except OSError as error:
        raise DiskError(f"cannot write the engine to {where} ({error}). Set {VARIABLE} to another folder") from error
    return path


def find(facts: EngineFacts, *, where: Path | None = None) -> bytes | None:
    """The engine with exactly these facts; None if there is none, or if it is not the one that was written.

    Raises:
        DadfiError: there is one, in a place that others can write to.
    """
    where = where or folder()
    path = where / f"{facts.key}{SUFFIX}"
    if not path.is_file():
        return None
    path = require_private(path)
    try:
        engine = path.read_bytes()
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = {**json.loads(json.dumps(asdict(facts))), "sha256": hashlib.sha256(engine).hexdigest()}
    return engine if record == wanted else None


def require_private(path: Path) -> Path:
    """Where ``path`` really is, which nobody but the user and the system can change.

    Raises:
        DadfiError: somebody else can; the message says where, and how to fix it.
    """
    real = path.resolve()
    if os.name == "nt":  # the user's own folders are his alone there, and the mode bits say nothing
        return real
    for each in (real, *real.parents):
        status = each.stat()
        if status.st_uid not in (0, os.getuid()):
            raise DadfiError(f"{each} belongs to another user, so the engine {path} is not loaded; {_FIX}")
        shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        # In a sticky folder (/tmp) others may add files, but not rename or remove ours; what lies in it is looked at.
        if shared and not (each != real and stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
            how = f"chmod go-w {each}"
            raise DadfiError(f"others can write to {each}, so the engine {path} is not loaded. Run: {how}, or {_FIX}")
    return real


def _target(flavour: build.Flavour, architecture: str | None, device: str) -> tuple[str, str]:
    """What an engine is for, and the driver that it depends on."""
    if architecture is not None:
        return architecture.lower(), ""
    gpu = cuda.gpu(device)
    return (gpu.architecture, "") if flavour.ahead_of_time else (f"{gpu.name} {gpu.architecture}", gpu.driver)
