"""A generator as engines: TensorRT's for the GPU that is there, or TensorRT for RTX's for any GPU, without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dadfi_fast.backends import cuda
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.tensorrt import build, cache
from dadfi_fast.errors import BackendMissing


def write(
    flavour: build.Flavour,
    generator_file: GeneratorFile,
    *,
    narrow: bool = True,
    architectures: Sequence[str] = (),
    device: str = "cuda",
    folder: Path | None = None,
) -> list[Path]:
    """Build engines, or find them built, and say where they are; beside each lie its facts (``NAME.json``).

    Args:
        flavour: which product.
        generator_file: the generator in float32.
        narrow: compute in float16, with the statistics of the norms in float32.
        architectures: ``sm89`` and the like: an engine for each, with TensorRT for RTX. Without any, the GPU of
            ``device``.
        folder: where they go; the folder in which the backend looks for them if None.

    Raises:
        BackendMissing: the runtime is not installed, or there is no GPU where one is needed.
        DadfiError: the engine cannot be built or written.
    """
    if (why := flavour.missing()) is not None:
        raise BackendMissing(why)
    if not architectures and (why := cuda.missing(device)) is not None:
        raise BackendMissing(f"{why}{'; or pass GPUs with --arch' * flavour.ahead_of_time}")
    precision = "f16" if narrow else "f32"
    return [
        cache.obtain(flavour, generator_file, precision=precision, architecture=each, device=device, where=folder)[1]
        for each in architectures or (None,)
    ]
