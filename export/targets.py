"""What a generator can be exported to, behind one function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dadfi_fast.backends.generator_file import DEFAULT, GeneratorFile, load_generator_file
from dadfi_fast.backends.tensorrt import build
from dadfi_fast.errors import UsageError
from dadfi_fast.export import generator, openvino, tensorrt

ENGINES: Final = {flavour.name: flavour for flavour in (build.TENSORRT, build.TENSORRT_RTX)}
TARGETS: Final = ("onnx", "openvino", *ENGINES)


@dataclass(frozen=True)
class Written:
    """What was written, and how it can be run."""

    files: tuple[Path, ...]
    generator_file: GeneratorFile  # what backends load
    backends: tuple[str, ...]  # those that run what was written
    precision: str | None  # what an engine computes in; None where the backend chooses
    narrow: bool  # float16 inside


def export(
    to: str,
    name: str | None = None,
    *,
    folder: Path | None = None,
    narrow: bool | None = None,
    fused: bool = False,
    architectures: Sequence[str] = (),
    device: str = "cuda",
) -> Written:
    """Write a generator.

    Args:
        to: one of `TARGETS`.
        name: a name, ``FILE.onnx`` or ``FILE.safetensors`` with its card; the generator that ships if None.
        folder: where to; the current folder if None, and for engines the one in which their backend looks.
        narrow: float16 with the statistics of the norms in float32; if None, engines are and files are not.
        fused: one node for norm, ReLU and addition: for ``onnx``, and for ``tensorrt``, whose engine then takes our
            kernel along.
        architectures: for ``tensorrt-rtx``: GPUs that need not be here (``sm89``).
        device: the GPU that an engine is for where no architecture is given.

    Raises:
        UsageError: an option that this target has not; no such generator.
        BackendMissing: the runtime is not installed, or there is no GPU where one is needed.
        DadfiError: it cannot be built or written.
    """
    if architectures and to != build.TENSORRT_RTX.name:
        raise UsageError(f"--arch is for {build.TENSORRT_RTX.name}; --to {to} has no choice of GPU")
    if fused and to not in ("onnx", build.TENSORRT.name):
        raise UsageError(f"--fused is for onnx and {build.TENSORRT.name}: {to} does not accept custom kernels")
    narrow = to in ENGINES if narrow is None else narrow
    source = generator.read(name or DEFAULT)
    target_folder = folder or Path()
    if to == "onnx":
        generator_path = generator.write(source, target_folder, narrow=narrow, fused=fused)
        files = [generator_path.onnx.with_suffix(suffix) for suffix in (".onnx", ".safetensors", ".md")]
        existing = tuple(path for path in files if path.is_file())
        runs = ("onnxruntime", "openvino") if narrow or fused else ("onnxruntime", "openvino", "torch")
        return Written(existing, generator_path, runs, None, narrow)
    # Weights alone and fused nodes become a file first, which stays: engines are built from it, and found again by it.
    made_first = fused or source.card.file.suffix != ".onnx"
    generator_file = (
        generator.write(source, target_folder, fused=fused) if made_first else load_generator_file(name or DEFAULT)
    )
    if to == "openvino":
        path = openvino.write(source, target_folder, narrow=narrow)
        run = replace(generator_file, onnx=path)
        return Written((path, path.with_suffix(".bin")), run, ("openvino",), None, narrow)
    engines = tensorrt.write(
        ENGINES[to], generator_file, narrow=narrow, architectures=architectures, device=device, folder=folder
    )
    return Written(tuple(engines), generator_file, (to,), "f16" if narrow else "f32", narrow)
