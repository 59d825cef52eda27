"""The fused operation of the generator, body against body: bytes moved a second, beside a plain copy of memory.

A body counts only if it was found right: against `reference` in float64, at most twice as far off as the plain
arithmetic is in the same dtype. What it must move (the planes and the residual in, the result out) over the time is its
rate; over the rate of a copy of more memory than any cache holds, its share of what the machine can do.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from dadfi_fast.bench.rows import Row, package, summarise
from dadfi_fast.bench.timing import Case, run_rounds
from dadfi_fast.device import cores
from dadfi_fast.errors import DadfiError, UsageError
from dadfi_fast.models.generator import PRESETS
from dadfi_fast.ops.instance_norm_residual import instance_norm_residual, reference

#: x, weight, bias, residual (or None).
Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor, "Tensor | None"]
#: Called with one of `Inputs` and whether there is a ReLU.
Body: TypeAlias = Callable[[Inputs, bool], Tensor]

DTYPES: Final = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
SIZE: Final = 256  # pixels of a crop
COPY: Final = "copy"
#: Sets of tensors are used in turn, as many as make this many bytes: more than a cache holds.
BEYOND_CACHE: Final = {"cpu": 64 << 20, "cuda": 256 << 20}
MOST_SETS: Final = 64


@dataclass(frozen=True)
class Work:
    """One call of the operation, as the generator makes it."""

    shape: tuple[int, int, int, int]  # [B, C, H, W]
    dtype: str  # of `DTYPES`
    relu: bool
    residual: bool

    @property
    def name(self) -> str:
        """How rows call it."""
        shape = "x".join(map(str, self.shape))
        return f"instance_norm_residual {self.dtype} {shape}{' relu' * self.relu}{' residual' * self.residual}"

    @property
    def bytes(self) -> int:
        """What any body moves: planes and residual are read once, the result is written once."""
        size = torch.Size(self.shape).numel() * DTYPES[self.dtype].itemsize
        return size * (3 if self.residual else 2)

    def inputs(self, device: str, *, seed: int = 0) -> Inputs:
        """Random tensors: planes with a mean and a scale of their own, as convolutions put them out."""
        random = torch.Generator().manual_seed(seed)
        b, c, h, w = self.shape
        scale, mean = torch.rand(b, c, 1, 1, generator=random) * 3 + 0.1, torch.randn(b, c, 1, 1, generator=random)
        x = torch.randn(b, c, h, w, generator=random) * scale + mean
        weight, bias = (torch.randn(c, generator=random) for _ in range(2))
        residual = torch.randn(b, c, h, w, generator=random) if self.residual else None
        kind = DTYPES[self.dtype]
        there = (each if each is None else each.to(device, kind) for each in (x, weight, bias, residual))
        return tuple(there)  # type: ignore[return-value]

    def sets(self, device: str) -> list[Inputs]:
        """As many different ones as are larger than the cache together."""
        count = min(MOST_SETS, -(-BEYOND_CACHE[torch.device(device).type] // self.bytes))
        return [self.inputs(device, seed=seed) for seed in range(count)]

    def facts(self) -> dict[str, Any]:
        """What rows say of it."""
        return {
            "shape": list(self.shape),
            "dtype": self.dtype,
            "relu": self.relu,
            "residual": self.residual,
            "bytes": self.bytes,
        }


def works(preset: str, *, batch: int, dtype: str) -> list[Work]:
    """The different calls of one pass of a generator over ``batch`` crops of 256 px."""
    w = PRESETS[preset]
    shapes = [(batch, w << level, SIZE >> level, SIZE >> level) for level in range(3)]
    return [*(Work(shape, dtype, True, False) for shape in shapes), Work(shapes[2], dtype, False, True)]


def eager(inputs: Inputs, relu: bool) -> Tensor:
    """The operation as it is called: PyTorch's own body, unless another one is registered for the device."""
    out: Tensor = instance_norm_residual(*inputs, relu)
    return out


def plain(inputs: Inputs, relu: bool) -> Tensor:
    """The plain arithmetic, operation by operation."""
    return reference(*inputs, relu=relu)


@functools.cache
def compiled() -> Body:
    """The plain arithmetic through torch.compile, for each shape by itself."""
    body: Body = torch.compile(plain, fullgraph=True, dynamic=False)
    return body


def bodies() -> tuple[dict[str, Body], list[str]]:
    """The bodies that a CPU has, by the name that rows have; and why others are not there."""
    implementations: dict[str, Body] = {"torch eager": eager, "reference": plain}
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++", "cl")), None)
    if compiler is None:
        return implementations, ["torch.compile: it needs a C++ compiler, and there is none on the path"]
    return implementations | {"torch.compile": compiled()}, []


@dataclass(frozen=True)
class Accuracy:
    """Largest errors against float64."""

    error: float
    allowed: float  # twice that of the plain arithmetic in the same dtype, and a unit in the last place

    @property
    def right(self) -> bool:
        """Whether the body may be timed. A value that is not a number is no match for anything."""
        return self.error <= self.allowed


def accuracy(body: Body, work: Work, device: str) -> Accuracy:
    """How far ``body`` is off on fresh numbers."""
    inputs = work.inputs(device, seed=4242)
    wide: Any = tuple(each if each is None else each.double() for each in inputs)
    truth = reference(*wide, relu=work.relu)
    last = float(truth.abs().max()) * torch.finfo(DTYPES[work.dtype]).eps
    error, own = (_furthest(run(inputs, work.relu), truth) for run in (body, plain))
    return Accuracy(error, 2 * own + last)


def cpu_rows(
    chosen: Sequence[Work], *, repeats: int, tick: Callable[[], object] = lambda: None
) -> tuple[list[Row], list[str]]:
    """Time the CPU's bodies.

    Args:
        chosen: calls to time.
        repeats: rounds that count.
        tick: called after every case of every round.

    Returns:
        A row for the copy and one for each body and call; and what was not timed, with the reason.
    """
    implementations, missing = bodies()
    with _many_shapes(), torch.inference_mode():
        cases = [_copy_case(), *_cases(chosen, implementations, missing)]
        rates = run_rounds(cases, repeats=repeats, tick=tick)
    copied = sorted(rates[cases[0].key])[repeats // 2]
    return [_row(case, rates[case.key], copied) for case in cases], missing


def count_cases(chosen: Sequence[Work]) -> int:
    """Cases in a round of `cpu_rows`, if all bodies are right."""
    return 1 + len(chosen) * len(bodies()[0])


def gpu_rows(
    chosen: Sequence[Work],
    *,
    found: Mapping[str, Body],
    time: Callable[[str, Body, Sequence[Inputs], bool, int], Any],
    repeats: int,
    device: str = "cuda",
) -> tuple[list[Row], list[str]]:
    """Time the versions of a kernel on a GPU, and what PyTorch has for it.

    Args:
        chosen: calls to time.
        found: by name; each is checked on every call before it is timed, and left out if it is wrong or cannot run.
        time: called with name, body, sets of inputs, ReLU and replays; gives what has ``p20``, ``p50`` and ``p80``, in
            microseconds, and ``n``.
        repeats: replays.
    """
    rows: list[Row] = []
    missing: list[str] = []
    copied = _gpu_copy(device, repeats)
    driver = f"{package('torch')}, CUDA {torch.version.cuda}"
    rows.append(summarise(COPY, f"torch-{device}", copied, unit="GB/s", driver=driver, config=_where(device)))
    best = rows[0].p50
    with _many_shapes():
        for work in chosen:
            right = {name: body for name, body in found.items() if not _left_out(name, body, work, device, missing)}
            sets = work.sets(device)
            for name, body in right.items():
                timing = time(name, body, sets, work.relu, repeats)
                slow, usual, fast = (work.bytes / 1e3 / each for each in (timing.p80, timing.p50, timing.p20))
                facts = work.facts() | _where(device) | {"microseconds": timing.p50, "share_of_copy": usual / best}
                rows.append(Row(work.name, f"{name}-{device}", "GB/s", slow, usual, fast, timing.n, facts, driver))
    return rows, missing


def _cases(chosen: Sequence[Work], versions: Mapping[str, Body], missing: list[str]) -> Iterator[Case]:
    for work in chosen:
        sets = work.sets("cpu")
        for name, body in versions.items():
            if not _left_out(name, body, work, "cpu", missing):
                yield _case(work, name, body, sets)


def _left_out(name: str, body: Body, work: Work, device: str, missing: list[str]) -> bool:
    """Whether the body may not be timed; the reason is added to ``missing``."""
    try:
        why = _wrong(body, work, device)
    except UsageError as error:  # what a version says that cannot run on this GPU
        why = str(error)
    except RuntimeError as error:  # what torch.compile raises where its compiler fails
        why = str(error).splitlines()[0]
    if why is not None:
        missing.append(f"{work.name}, {name}: {why}")
    return why is not None


def _case(work: Work, name: str, body: Body, sets: Sequence[Inputs]) -> Case:
    def run() -> int:
        for inputs in sets:
            body(inputs, work.relu)
        return work.bytes * len(sets)

    facts = work.facts() | {"sets": len(sets), "threads": torch.get_num_threads()}
    return Case(work.name, f"{name}-cpu", package("torch"), run, unit="GB/s", config=facts)


def _copy_case() -> Case:
    source = torch.rand(BEYOND_CACHE["cpu"] // 4)
    target = torch.empty_like(source)

    def run() -> int:
        target.copy_(source)
        return 2 * source.numel() * source.element_size()

    facts = {"bytes": 2 * source.numel() * 4, "threads": torch.get_num_threads()}
    return Case(COPY, "torch-cpu", package("torch"), run, unit="GB/s", config=facts)


def _row(case: Case, rates: Sequence[float], copied: float) -> Row:
    """Bytes a second become gigabytes."""
    facts = dict(case.config)
    row = summarise(
        case.name, case.provider, [rate / 1e9 for rate in rates], unit=case.unit, driver=case.driver, config=facts
    )
    if case.name != COPY:
        facts["microseconds"] = facts["bytes"] / row.p50 / 1e3
        facts["share_of_copy"] = row.p50 * 1e9 / copied
    return row


def _gpu_copy(device: str, repeats: int) -> list[float]:
    """Gigabytes a second, read and written, of copies of more than the cache holds."""
    source = torch.rand(BEYOND_CACHE["cuda"] // 4, device=device)
    target = torch.empty_like(source)
    moved, rates = 2 * source.numel() * 4, []
    with torch.cuda.device(device):
        for _ in range(repeats + 3):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            target.copy_(source)
            end.record()
            end.synchronize()
            rates.append(moved / start.elapsed_time(end) / 1e6)
    return rates[3:]


def _where(device: str) -> dict[str, Any]:
    return {"gpu": torch.cuda.get_device_name(device)}


def _wrong(body: Body, work: Work, device: str) -> str | None:
    """Why the body may not be timed."""
    accuracy_row = accuracy(body, work, device)
    return (
        None if accuracy_row.right else f"wrong by {accuracy_row.error:.3g}, and {accuracy_row.allowed:.3g} is allowed"
    )


def _furthest(out: Tensor, truth: Tensor) -> float:
    if out.shape != truth.shape:
        raise DadfiError(f"the kernel returned shape {tuple(out.shape)}, expected {tuple(truth.shape)}")
    return float((out.double() - truth).abs().max())


@contextlib.contextmanager
def _many_shapes() -> Iterator[None]:
    """torch.compile gives up on a function that it has compiled for eight shapes, unless it is told otherwise."""
    from torch._dynamo import config

    threads = torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        with config.patch(recompile_limit=64):
            yield
    finally:
        torch.set_num_threads(threads)
