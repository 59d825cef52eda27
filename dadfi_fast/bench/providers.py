"""The generator on everything that can run it here, side by side: every backend in every precision, and two more.

``torch.compile`` and int8 are no backends of protect; they stand here so that what is one can be compared with them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.registry import BACKENDS, choose
from dadfi_fast.backends.torch import Torch
from dadfi_fast.bench.generator import BATCHES, CROPS
from dadfi_fast.bench.rows import Row, package, ratio, summarise
from dadfi_fast.bench.timing import Case, run_rounds
from dadfi_fast.device import cores
from dadfi_fast.errors import DadfiError
from dadfi_fast.types import LEVELS, Float32

if TYPE_CHECKING:
    from torch import Tensor

#: Backends that run the int8 file.
INT8: Final = ("openvino", "onnxruntime")


class Compiled(Torch):
    """PyTorch through torch.compile, for each shape by itself; the norms are opened up, so that it may fuse them."""

    name: ClassVar[str] = "torch.compile"

    def __init__(
        self, generator_file: GeneratorFile, *, device: str = "cpu", threads: int | None = None, precision: str = "auto"
    ) -> None:
        super().__init__(generator_file, device=device, threads=threads, precision=precision)
        import torch

        from dadfi_fast.models.generator import ConvNorm

        for module in self.generator.modules():
            if isinstance(module, ConvNorm):
                module.forward = functools.partial(_open, module)  # type: ignore[method-assign]
        # On a GPU its best: it times kernels against each other, and the runner has the CUDA graph.
        mode = None if device == "cpu" else "max-autotune-no-cudagraphs"
        self.generator.forward = torch.compile(self.generator.forward, fullgraph=True, dynamic=False, mode=mode)  # type: ignore[method-assign]


def _open(module: Any, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """What `ConvNorm` computes, in operations that a compiler sees."""
    from torch.nn import functional as F

    planes = module.conv(x)
    out = F.instance_norm(planes, weight=module.weight.to(planes.dtype), bias=module.bias.to(planes.dtype))
    out = out.relu() if module.relu else out
    return out if residual is None else out + residual


@dataclass(frozen=True, eq=False)
class Field:
    """All that are timed on one generator; the default comes first."""

    label: str  # how rows call the generator
    runners: tuple[Backend, ...]
    missing: tuple[str, ...]


def field(generator_file: GeneratorFile, crops: Float32, scratch: Path, *, label: str, device: str = "cpu") -> Field:
    """Everything that can run ``generator_file`` on ``device``.

    Args:
        generator_file: the generator.
        crops: [B, 3, S, S] in [-1, 1], which the int8 file is calibrated on.
        scratch: folder for the int8 file.
        label: how rows call the generator.
    """
    kind, _ = choose("auto", device=device)
    default = kind(generator_file, device=device, threads=cores())
    runners: list[Backend] = [default]
    missing: list[str] = []
    for make in _makers(generator_file, crops, scratch, device):
        try:
            runner = make()
        except (DadfiError, ImportError) as error:
            missing.append(str(error))
            continue
        if runner.describe != default.describe:
            runners.append(runner)
    return Field(label, tuple(runners), tuple(missing))


def run(
    fields: Sequence[Field], crops: Float32, *, repeats: int, tick: Callable[[], object] = lambda: None
) -> list[Row]:
    """Time everything in the same rounds: a row for each runner and batch, then the default's ratio to each other one.

    Args:
        fields: of different generators.
        crops: [B, 3, S, S] in [-1, 1], repeated as needed.
        repeats: rounds that count.
        tick: called after every case of every round.
    """
    apart = {(each.label, one.describe): _apart(one, each, crops) for each in fields for one in each.runners}
    cases = [_case(each.label, one, batch, crops) for each in fields for batch in BATCHES for one in each.runners]
    rates = run_rounds(cases, repeats=repeats, tick=tick)
    rows = []
    for case in cases:
        facts = case.config | apart[case.config["generator"], case.provider]
        rows.append(
            summarise(case.name, case.provider, rates[case.key], unit=case.unit, driver=case.driver, config=facts)
        )
    return [*rows, *_ratios(fields, rates)]


def count_cases(fields: Sequence[Field]) -> int:
    """Cases in a round."""
    return sum(len(BATCHES) * len(each.runners) for each in fields)


def quantised(generator_file: GeneratorFile, crops: Float32, folder: Path) -> GeneratorFile:
    """The generator with int8 convolutions, as ONNX Runtime's own tool makes it from ranges seen on ``crops``.

    Raises:
        ImportError: onnxruntime or onnx is not installed.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        batches = iter([{"crops": crops[i : i + 1]} for i in range(len(crops))])

        def get_next(self) -> dict[str, Float32] | None:
            return next(self.batches, None)

    path = folder / f"{generator_file.name}-int8.onnx"
    logging.disable(logging.WARNING)  # it recommends a step of preparation that plain convolutions do not need
    try:
        quantize_static(
            generator_file.onnx, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=["Conv"], activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    return replace(generator_file, onnx=path, safetensors=None)


def _makers(
    generator_file: GeneratorFile, crops: Float32, scratch: Path, device: str
) -> Iterator[Callable[[], Backend]]:
    kind = device.partition(":")[0]
    for name in BACKENDS:
        for precision in BACKENDS[name]().devices.get(kind, ()):
            yield functools.partial(_backend, name, generator_file, device, precision)
    for precision in Compiled.devices[kind]:
        yield lambda precision=precision: Compiled(generator_file, device=device, threads=cores(), precision=precision)  # type: ignore[misc]
    if kind == "cpu":
        file = functools.cache(lambda: quantised(generator_file, crops, scratch))
        for name in INT8:
            yield lambda name=name: _int8(name, file())  # type: ignore[misc]


def _backend(name: str, generator_file: GeneratorFile, device: str, precision: str) -> Backend:
    return choose(name, device=device)[0](generator_file, device=device, threads=cores(), precision=precision)


def _int8(name: str, generator_file: GeneratorFile) -> Backend:
    backend = choose(name)[0](generator_file, threads=cores(), precision="f32")
    backend.describe = f"{name}-cpu int8"
    return backend


def _case(label: str, runner: Backend, batch: int, crops: Float32) -> Case:
    given = np.ascontiguousarray(crops[np.arange(batch) % len(crops)])
    calls = max(1, CROPS // batch)

    def work() -> int:
        for _ in range(calls):
            runner(given)
        return calls * batch

    facts = {"batch": batch, "size": crops.shape[-1], "generator": label, "threads": cores()}
    package_name = runner.name.partition(".")[0]
    return Case(_name(label, batch), runner.describe, package(package_name), work, unit="crops/s", config=facts)


def _name(label: str, batch: int) -> str:
    return f"{label} batch {batch}"


def _apart(runner: Backend, among: Field, crops: Float32) -> dict[str, float]:
    """How far a runner is from float32, in levels: from PyTorch's, or where that is not there from the first one's."""
    exact = [each for each in among.runners if each.describe.endswith("f32")]
    truth = next((each for each in exact if each.name == "torch"), exact[0] if exact else runner)
    apart = np.abs(runner(crops) - truth(crops)).astype(np.float64) * LEVELS
    rms = float(np.sqrt(np.square(apart).mean()))
    # three significant digits
    return {"largest_difference_levels": float(f"{apart.max():.3g}"), "rms_difference_levels": float(f"{rms:.3g}")}


def _ratios(fields: Sequence[Field], rates: dict[tuple[str, str], list[float]]) -> Iterator[Row]:
    for each in fields:
        default, *others = each.runners
        for batch in BATCHES:
            name = _name(each.label, batch)
            for other in others:
                yield ratio(
                    f"{name}, ratio",
                    rates[name, default.describe],
                    rates[name, other.describe],
                    provider=f"{default.describe} / {other.describe}",
                    config={"batch": batch, "generator": each.label},
                )
