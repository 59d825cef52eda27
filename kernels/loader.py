"""From the CUDA C++ beside this file to kernels that can be launched: NVRTC compiles it, a cache on disk keeps it.

Compiling needs the packages cuda-core and nvidia-cuda-nvrtc, and neither a GPU nor a driver; launching needs both.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import io
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from dadfi_fast.errors import BackendMissing, DadfiError
from dadfi_fast.files import atomic_write
from dadfi_fast.kernels.choice import SIZES

if TYPE_CHECKING:
    from cuda.core import Kernel

FOLDER: Final = Path(__file__).parent
#: What is compiled by itself, since not everybody needs all of it.
SOURCES: Final = {"forward": FOLDER / "instance_norm_residual.cu", "gradients": FOLDER / "gradients.cu"}
#: The oldest GPUs that the kernels run on: asynchronous copies and bfloat16 came with them.
OLDEST: Final = (8, 0)
#: The CUDA version that a driver must be for, to load what NVRTC 13 makes.
OLDEST_DRIVER: Final = 13000
#: The environment variable that names another folder for compiled kernels.
VARIABLE: Final = "DADFI_KERNELS_FOLDER"
_IMPORTING: Final = threading.Lock()
MEND: Final = "run: pip install 'dadfi-fast[gpu]'"


@dataclass(frozen=True)
class Resources:
    """What the compiler gave one kernel."""

    registers: int  # a thread
    spilled: int  # bytes a thread that did not fit the registers


@dataclass(frozen=True)
class Build:
    """Machine code of all kernels of one dtype."""

    cubin: bytes
    resources: Mapping[str, Resources]  # by the name of the kernel


def missing() -> str | None:
    """Why kernels cannot be compiled here, and how to fix it; None if they can."""
    for module, package in (("cuda.core", "cuda-core"), ("cuda.bindings.nvrtc", "cuda-bindings")):
        if not _findable(module):
            return f"{package} is not installed; {MEND}"
    try:
        _supported()
    except Exception as error:
        # The bindings raise errors of their own, of changing types, where the library that they bind is not there.
        return f"cannot load NVRTC ({type(error).__name__}); {MEND}"
    return None


@functools.cache
def cuda_core() -> ModuleType:
    """The package cuda.core, which two threads must not import at once: one of them would see half of it."""
    with _IMPORTING:
        return importlib.import_module("cuda.core")


def driver_version() -> int | None:
    """The CUDA version of the driver, such as 13000 for 13.0; None without a driver."""
    from cuda.bindings import driver

    try:
        status, version = driver.cuDriverGetVersion()
    except Exception:  # the type differs between versions of the bindings
        return None
    return int(version) if status == driver.CUresult.CUDA_SUCCESS else None


def source_digest() -> str:
    """Changes with the kernels and with how they are compiled and launched. Needs nothing that compiles."""
    digest = hashlib.sha256()
    for path in sorted(path for kind in ("*.cu", "*.cuh", "*.py") for path in FOLDER.glob(kind)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def compile_kernels(dtype: str, architecture: str, part: str = "forward") -> Build:
    """Compile the kernels of one dtype.

    Args:
        dtype: ``f32``, ``f16`` or ``bf16``.
        architecture: such as ``sm_90``.
        part: of `SOURCES`.

    Raises:
        cuda.core error: the source does not compile; the message is the compiler's.
    """
    assert dtype in SIZES, f"there are no kernels for {dtype}"
    core = cuda_core()
    source = SOURCES[part]
    options = core.ProgramOptions(
        name=source.name,
        arch=architecture,
        std="c++17",
        define_macro=f"STORE_{dtype.upper()}",
        include_path=str(FOLDER),
        ptxas_options=["-v"],
    )
    log = io.StringIO()
    code = core.Program(source.read_text(encoding="utf-8"), "c++", options).compile("cubin", logs=log).code
    assert isinstance(code, bytes)
    return Build(code, _resources(log.getvalue()))


def compile_ptx(source: Path, capability: tuple[int, int], define: str) -> str:
    """Intermediate code, which the driver of any GPU of this compute capability or a newer one makes into its own.

    Straight from NVRTC: cuda-core makes PTX only where there is a driver.

    Args:
        source: a ``.cu`` file of this folder.
        capability: such as (9, 0).
        define: the macro that says which kernels are wanted.

    Raises:
        BackendMissing: NVRTC does not know the GPU.
        DadfiError: the source does not compile; the message is the compiler's.
    """
    from cuda.bindings import nvrtc

    target = _architecture(capability).replace("sm_", "compute_")
    _, program = nvrtc.nvrtcCreateProgram(source.read_bytes(), source.name.encode(), 0, None, None)
    options = [f"-arch={target}", "-std=c++17", f"-I{FOLDER}", f"-D{define}"]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        said = _text(program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
        raise DadfiError(f"{source.name} does not compile for {target}: {said}")
    return _text(program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)


def load_kernels(
    dtype: str, capability: tuple[int, int], *, part: str = "forward", folder: Path | None = None
) -> bytes:
    """Machine code for a GPU of this compute capability, from the cache or compiled now.

    Args:
        dtype: ``f32``, ``f16`` or ``bf16``.
        capability: of the GPU, such as (9, 0).
        part: of `SOURCES`.
        folder: of the cache; the user's cache folder if None. One that cannot be written to is done without.

    Raises:
        BackendMissing: NVRTC is not there, or does not know this GPU.
    """
    why = missing()
    if why is not None:
        raise BackendMissing(why)
    architecture = _architecture(capability)
    file = (folder or user_folder()) / f"{part}-{dtype}-{architecture}-{fingerprint(dtype, capability)}.cubin"
    cached = read(file)
    if cached is not None:
        return cached
    cubin = compile_kernels(dtype, architecture, part).cubin
    with contextlib.suppress(OSError):
        write(file, cubin)
    return cubin


@functools.cache
def kernel(name: str, dtype: str, capability: tuple[int, int], device: int, shared_bytes: int) -> Kernel:
    """The kernel ``name``, loaded, and allowed to take ``shared_bytes`` of shared memory on ``device``."""
    from cuda.bindings import driver

    compiled = _module(dtype, capability, "gradients" if name.startswith("gradients") else "forward").get_kernel(name)
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (status,) = driver.cuKernelSetAttribute(attribute, shared_bytes, compiled.handle, driver.CUdevice(device))
    if status != driver.CUresult.CUDA_SUCCESS:
        raise BackendMissing(f"the driver refuses {shared_bytes} bytes of shared memory for {name}: {status}")
    return compiled


@functools.cache
def _module(dtype: str, capability: tuple[int, int], part: str):  # type: ignore[no-untyped-def]
    code = load_kernels(dtype, capability, part=part)
    return cuda_core().ObjectCode.from_cubin(code, name=f"dadfi-fast-{part}-{dtype}")


def _text(program: Any, size: Callable[..., Any], get: Callable[..., Any]) -> str:
    """One of the texts that NVRTC made of a program."""
    _, count = size(program)
    text = b" " * count
    get(program, text)
    return str(text, "utf-8").rstrip("\0")


def _architecture(capability: tuple[int, int]) -> str:
    """The newest architecture that NVRTC knows and whose code runs there: of the same generation, and not newer."""
    major, minor = capability
    known = [a for a in _supported() if a // 10 == major and a % 10 <= minor]
    if capability < OLDEST or not known:
        newest = max(_supported())
        raise BackendMissing(
            f"the kernels cannot be compiled for compute capability {major}.{minor}: they need {OLDEST[0]}.{OLDEST[1]} "
            f"or higher, and this NVRTC supports up to {newest // 10}.{newest % 10}."
            " Run: pip install -U nvidia-cuda-nvrtc, or pass another --backend."
        )
    return f"sm_{max(known)}"


@functools.cache
def _supported() -> tuple[int, ...]:
    from cuda.bindings import nvrtc

    _, architectures = nvrtc.nvrtcGetSupportedArchs()
    return tuple(architectures)


def fingerprint(dtype: str, capability: tuple[int, int]) -> str:
    """Changes with the source, what compiles it and the driver that loads the result."""
    from cuda.bindings import nvrtc

    what = f"{dtype} {_architecture(capability)} {nvrtc.nvrtcVersion()[1:]} {driver_version()} {source_digest()}"
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def user_folder() -> Path:
    """Where compiled kernels are kept, and what is known of them: `VARIABLE` names it, else the user's cache folder."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_path("dadfi-fast", appauthor=False)) / "kernels"


def read(file: Path) -> bytes | None:
    """What `write` wrote; None if there is none or it is damaged."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, rest = content[:32], content[32:]
    return rest if hashlib.sha256(rest).digest() == digest else None


def write(file: Path, content: bytes) -> None:
    """With its hash, for `read`; two processes may do this at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, hashlib.sha256(content).digest() + content, private=True)


def _resources(log: str) -> dict[str, Resources]:
    """From the report of the assembler: a line with the name, one with the spills, one with the registers."""
    pattern = r"entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers"
    matches = re.findall(pattern, log, flags=re.DOTALL)
    return {name: Resources(int(registers), int(stores) + int(loads)) for name, stores, loads, registers in matches}


def _findable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
