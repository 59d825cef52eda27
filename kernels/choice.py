"""Which version of the kernel runs, and with which grid: plain arithmetic on sizes, the same with and without a GPU.

The versions are those of README.md: ``naive`` and ``vectorised`` read each plane twice, ``resident`` keeps it in the
shared memory of one block, ``cluster`` in that of several blocks. The thresholds come from arithmetic, not from
measurements.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dadfi_fast.errors import UsageError

#: In the order of the ladder.
VERSIONS: Final = ("naive", "vectorised", "resident", "cluster")
#: Bytes of a number, by the name that kernels use for its dtype.
SIZES: Final = {"f32": 4, "f16": 2, "bf16": 2}

WARP: Final = 32
MAX_THREADS: Final = 512  # as in bodies.cuh
GRADIENT_THREADS: Final = 256  # as in gradients.cu
MAX_SPLITS: Final = 32
CLUSTERS: Final = (2, 4, 8)  # 8 blocks is what every GPU with clusters can run together
SECTOR: Final = 32  # bytes that memory moves at least
#: Vectors that a thread should have, so that several loads are in flight.
PER_THREAD: Final = 4
#: Blocks that a GPU should have to run for each of its multiprocessors.
PER_MULTIPROCESSOR: Final = 4
#: A block of a cluster is not made smaller than this many vectors (16 KB) to have more blocks.
SMALLEST_SHARE: Final = 1024
MAX_PIXELS: Final = 1 << 25  # of a plane; the vectors of a team can then be counted in 31 bits


@dataclass(frozen=True)
class Gpu:
    """What the choice depends on."""

    capability: tuple[int, int]
    shared_bytes: int  # that one block can have
    multiprocessors: int

    @property
    def clusters(self) -> bool:
        """Whether blocks can read each other's shared memory."""
        return self.capability >= (9, 0)


@dataclass(frozen=True)
class Planes:
    """The tensor: [batch, channels, pixels], or [batch, pixels, channels] if ``channels_last``."""

    batch: int
    channels: int
    pixels: int
    dtype: str  # of `SIZES`
    channels_last: bool = False
    aligned: bool = True  # whether all pointers are multiples of 16 bytes

    @property
    def wide(self) -> int:
        """Numbers of a 16-byte access; 1 where such accesses are not possible."""
        width = 16 // SIZES[self.dtype]
        return width if self.aligned and not (self.channels_last and self.channels % width) else 1


@dataclass(frozen=True)
class Step:
    """One launch."""

    kernel: str
    grid: int  # blocks
    threads: int
    cluster: int  # blocks that run together; 1 for a kernel without clusters
    shared_bytes: int


@dataclass(frozen=True)
class Plan:
    """The launches of one call, in order, and the arguments that they share."""

    version: str
    steps: tuple[Step, ...]
    capacity: int
    splits: int
    column_bits: int
    workspace: int  # floats


@functools.lru_cache(maxsize=1024)
def plan(planes: Planes, gpu: Gpu, version: str = "auto") -> Plan:
    """The launches for ``planes`` on ``gpu``.

    Args:
        planes: the tensor; at least one number.
        gpu: compute capability 8.0 or higher.
        version: one of `VERSIONS`; ``auto`` is ``resident`` where a plane fits one block, else ``cluster`` where there
            are clusters and it fits one, else ``vectorised``, else ``naive``.

    Raises:
        UsageError: the version cannot run on this GPU or with these planes.
    """
    if version not in (*VERSIONS, "auto"):
        raise UsageError(f"unknown kernel version {version!r}. Available: {', '.join(VERSIONS)}, auto")
    _check(planes)
    for name in ("one pass", "vectorised", "naive") if version == "auto" else (version,):
        planned = _two_pass(planes, gpu, name) if name in ("vectorised", "naive") else _one_pass(planes, gpu, name)
        if planned is not None:
            return planned
    raise UsageError(f"version {version} cannot run here: {planes} on {gpu}. Use version auto.")


@functools.lru_cache(maxsize=1024)
def gradient_plan(planes: Planes, gpu: Gpu) -> Plan:
    """The launch for the gradients: ``held`` where x and the gradient of a plane fit one block, else ``streamed``.

    Args:
        planes: the tensor; at least one number. ``aligned`` is to hold for the gradient, too.
        gpu: compute capability 8.0 or higher.

    Raises:
        UsageError: the planes are larger than the kernels take.
    """
    _check(planes)
    width = planes.wide
    for columns in _columns(planes, width) if width > 1 else ():
        step = _gradient_step(planes, width, columns, held=True)
        if step.shared_bytes <= gpu.shared_bytes:
            return _gradient_plan(planes, width, columns, "held", step)
    columns = next(_columns(planes, width))
    return _gradient_plan(planes, width, columns, "streamed", _gradient_step(planes, width, columns, held=False))


def _gradient_step(planes: Planes, width: int, columns: int, *, held: bool) -> Step:
    vectors = _vectors(planes, width, columns)
    threads = min(_threads(vectors), GRADIENT_THREADS)
    # Floats a statistic: two of the center's sample, four moments, two sums of the gradient.
    scratch = 4 * (threads // WARP + 1) * columns * _statistics(planes, width) * (2 + 4 + 2)
    kernel = f"gradients_{'held' if held else 'streamed'}_{_name(planes, width)}"
    return Step(kernel, _teams(planes, width, columns), threads, 1, held * 2 * vectors * 16 + scratch)


def _gradient_plan(planes: Planes, width: int, columns: int, version: str, step: Step) -> Plan:
    workspace = planes.batch * planes.channels * 2
    return Plan(version, (step,), _vectors(planes, width, columns), 1, _bits(columns), workspace)


def _check(planes: Planes) -> None:
    if planes.pixels > MAX_PIXELS:
        raise UsageError(f"a plane of {planes.pixels} pixels is larger than the maximum of {MAX_PIXELS}")


def _two_pass(planes: Planes, gpu: Gpu, version: str) -> Plan | None:
    width = planes.wide if version == "vectorised" else 1
    if version == "vectorised" and width == 1:
        return None
    columns = next(_columns(planes, width))
    teams, vectors = _teams(planes, width, columns), _vectors(planes, width, columns)
    splits = 1
    if version == "vectorised":
        wanted = -(-PER_MULTIPROCESSOR * gpu.multiprocessors // teams)
        splits = max(1, min(wanted, MAX_SPLITS, vectors // SMALLEST_SHARE))
    capacity = _share(vectors, splits, columns)
    threads = min(_threads(capacity), 256)
    statistics = columns * _statistics(planes, width)
    name = _name(planes, width)
    gather = 4 * (threads // WARP + 1) * statistics * (2 + 4)
    steps = (
        Step(f"gather_{name}", teams * splits, threads, 1, gather),
        Step(f"normalise_{name}", teams * splits, threads, 1, 4 * statistics * 4),
    )
    return Plan(version, steps, capacity, splits, _bits(columns), teams * splits * statistics * 4)


def _one_pass(planes: Planes, gpu: Gpu, version: str) -> Plan | None:
    """``resident``, ``cluster``, or the better of both for ``one pass``; None where the planes do not fit."""
    width = planes.wide
    if width == 1:
        return None
    sizes = {"resident": (1,), "cluster": CLUSTERS, "one pass": (1, *CLUSTERS)}[version]
    sizes = tuple(size for size in sizes if size == 1 or gpu.clusters)
    # A block that takes at most half of the memory leaves room for a second, which loads while the first computes.
    for columns in _columns(planes, width):
        for limit in (gpu.shared_bytes // 2, gpu.shared_bytes):
            for size in sizes:
                if _fit(planes, width, columns, size).shared_bytes <= limit:
                    return _resident(planes, gpu, width, columns, _spread(planes, gpu, width, columns, size, sizes))
    return None


def _spread(planes: Planes, gpu: Gpu, width: int, columns: int, size: int, sizes: tuple[int, ...]) -> int:
    """A larger cluster where there are too few planes to keep all multiprocessors busy."""
    teams, vectors = _teams(planes, width, columns), _vectors(planes, width, columns)
    for larger in sizes:
        if larger > size and teams * larger <= gpu.multiprocessors and vectors >= larger * SMALLEST_SHARE:
            size = larger
    return size


def _resident(planes: Planes, gpu: Gpu, width: int, columns: int, size: int) -> Plan:
    step = _fit(planes, width, columns, size)
    capacity = _share(_vectors(planes, width, columns), size, columns)
    return Plan("resident" if size == 1 else "cluster", (step,), capacity, 1, _bits(columns), 0)


def _fit(planes: Planes, width: int, columns: int, size: int) -> Step:
    """The launch with ``size`` blocks a team, and the shared memory that it needs."""
    capacity = _share(_vectors(planes, width, columns), size, columns)
    threads = _threads(capacity)
    scratch = 4 * (threads // WARP + 1) * columns * _statistics(planes, width) * (1 + 2)
    kernel = f"{'resident' if size == 1 else 'cluster'}_{_name(planes, width)}"
    return Step(kernel, _teams(planes, width, columns) * size, threads, size, capacity * 16 + scratch)


def _columns(planes: Planes, width: int) -> Iterator[int]:
    """Vectors that stand side by side in a team, best first; one for NCHW.

    At most 64 bytes and no more than there are channels; below 32 bytes memory moves more than is asked for.
    """
    most = 1
    while planes.channels_last and most * width < planes.channels and 2 * most * width * SIZES[planes.dtype] <= 64:
        most *= 2
    while most >= 1:
        yield most
        most //= 2


def _name(planes: Planes, width: int) -> str:
    return f"{planes.dtype}_{'nhwc' if planes.channels_last else 'nchw'}_x{width}"


def _statistics(planes: Planes, width: int) -> int:
    """Planes that one thread keeps statistics of."""
    return width if planes.channels_last else 1


def _teams(planes: Planes, width: int, columns: int) -> int:
    group = columns * width if planes.channels_last else 1
    return planes.batch * -(-planes.channels // group)


def _vectors(planes: Planes, width: int, columns: int) -> int:
    """Vectors of a team: at NCHW of the plane that lies worst, begun in the last number of a vector."""
    if planes.channels_last:
        return planes.pixels * columns
    return -(-planes.pixels // width) if planes.pixels % width == 0 else -(-(planes.pixels + width - 1) // width)


def _share(vectors: int, blocks: int, columns: int) -> int:
    """Vectors of one of ``blocks``: whole pixels, so that every block starts with the first column."""
    return -(-vectors // (blocks * columns)) * columns


def _threads(capacity: int) -> int:
    threads = WARP
    while threads < MAX_THREADS and threads * PER_THREAD < capacity:
        threads *= 2
    return threads


def _bits(columns: int) -> int:
    return columns.bit_length() - 1
