"""Which version runs is arithmetic, and every plan keeps to what a GPU can do."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from dadfi_fast.errors import UsageError
from dadfi_fast.kernels.choice import CLUSTERS, MAX_PIXELS, MAX_THREADS, SIZES, VERSIONS, Gpu, Plan, Planes, plan

#: Shared memory that a block can have and multiprocessors, from NVIDIA's tables of compute capabilities.
GPUS = {
    "A100": Gpu((8, 0), 163 * 1024, 108),
    "A10": Gpu((8, 6), 99 * 1024, 72),
    "L4": Gpu((8, 9), 99 * 1024, 58),
    "H100": Gpu((9, 0), 227 * 1024, 132),
    "B200": Gpu((10, 0), 227 * 1024, 148),
    "RTX 5090": Gpu((12, 0), 99 * 1024, 170),
}

CHOSEN = [
    # side, GPU, dtype, channels last, version: what fits one block is resident, what fits several is a cluster
    (64, "H100", "f16", False, "resident"),
    (75, "L4", "f16", False, "resident"),
    (128, "L4", "f16", False, "resident"),  # 32 KB
    (256, "A100", "f16", False, "resident"),  # 128 KB of 163
    (256, "L4", "f16", False, "vectorised"),  # 128 KB of 99, no clusters
    (256, "RTX 5090", "f16", False, "cluster"),
    (256, "H100", "f16", False, "cluster"),  # two blocks of 64 KB let one load while the other computes
    (300, "H100", "f32", False, "cluster"),  # 352 KB
    (300, "A100", "f32", False, "vectorised"),
    (2048, "H100", "f16", False, "vectorised"),  # 8 MB: more than 8 blocks have
    (64, "H100", "f16", True, "resident"),  # 64 KB: 8 channels a pixel
    (256, "H100", "f16", True, "cluster"),  # 1 MB
    (128, "A100", "f16", True, "vectorised"),  # 256 KB
]


@pytest.mark.parametrize(("side", "gpu", "dtype", "last", "version"), CHOSEN)
def test_the_choice_goes_by_plane_size(side: int, gpu: str, dtype: str, last: bool, version: str) -> None:
    # So many pictures that no cluster is enlarged to keep all multiprocessors busy.
    assert plan(Planes(200, 8, side * side, dtype, last), GPUS[gpu]).version == version


def everything() -> list[tuple[Planes, Gpu, Plan]]:
    """A plan for each version that can run."""
    plans = []
    sizes = itertools.product(
        (1, 8, 200), (1, 3, 8, 24, 32, 40), (1, 30, 64 * 64, 75 * 75, 256 * 256, 300 * 300, MAX_PIXELS)
    )
    for batch, channels, pixels in sizes:
        for dtype, last, gpu, version in itertools.product(SIZES, (False, True), GPUS.values(), VERSIONS):
            planes = Planes(batch, channels, pixels, dtype, last)
            try:
                plans.append((planes, gpu, plan(planes, gpu, version)))
            except UsageError:
                continue
    return plans


def test_every_plan_can_be_launched() -> None:
    versions = set()
    for planes, gpu, launch_plan in everything():
        versions.add(launch_plan.version)
        for step in launch_plan.steps:
            assert 0 < step.shared_bytes <= gpu.shared_bytes
            assert step.threads % 32 == 0 and 32 <= step.threads <= MAX_THREADS
            assert 0 < step.grid < 2**31 and step.grid % step.cluster == 0
            assert step.cluster == 1 or (step.cluster in CLUSTERS and gpu.clusters)
        # The blocks of a team hold all of it, and start with a first column.
        width = int(launch_plan.steps[0].kernel.rpartition("x")[2])
        columns = 1 << launch_plan.column_bits
        blocks = launch_plan.steps[0].cluster * launch_plan.splits
        assert launch_plan.capacity % columns == 0
        assert launch_plan.capacity * blocks * width >= planes.pixels * (columns * width if planes.channels_last else 1)
        assert launch_plan.capacity * blocks < 2**31
    assert versions == set(VERSIONS)


def test_a_few_planes_are_spread_over_many_multiprocessors() -> None:
    one, many = (plan(Planes(batch, 8, 256 * 256, "f16"), GPUS["H100"]) for batch in (1, 64))
    assert one.steps[0].cluster == 8 > many.steps[0].cluster
    one, many = (plan(Planes(batch, 8, 1024 * 1024, "f16"), GPUS["A100"]) for batch in (1, 64))
    assert one.splits > 8 > many.splits


@pytest.mark.parametrize(
    ("planes", "gpu", "version", "message"),
    [
        (Planes(1, 8, 64, "f16"), "L4", "cluster", "cannot run here"),
        (Planes(1, 8, 512 * 512, "f32"), "L4", "resident", "cannot run here"),
        (Planes(1, 3, 64, "f16", channels_last=True), "H100", "vectorised", "cannot run here"),
        (Planes(1, 8, 64, "f16", aligned=False), "H100", "resident", "cannot run here"),
        (Planes(1, 8, 64, "f16"), "H100", "fastest", "vectorised, resident"),
        (Planes(1, 8, MAX_PIXELS + 1, "f16"), "H100", "auto", "larger than"),
    ],
)
def test_what_cannot_run_says_so(planes: Planes, gpu: str, version: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(planes, GPUS[gpu], version)


def test_what_is_not_aligned_still_runs() -> None:
    for last in (False, True):
        assert plan(Planes(1, 8, 64, "f16", last, aligned=False), GPUS["H100"]).version == "naive"


def test_choosing_loads_no_framework() -> None:
    code = (
        "import sys, dadfi_fast.kernels.choice, dadfi_fast.kernels.loader; print(*{'torch', 'cuda'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
