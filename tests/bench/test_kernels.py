from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from dadfi_fast.bench import kernels
from dadfi_fast.bench.kernels import Inputs, Work
from dadfi_fast.errors import UsageError

SMALL = Work((2, 4, 12, 10), "f32", True, False)
ADDED = Work((2, 4, 12, 10), "f32", False, True)


@pytest.fixture(autouse=True)
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BEYOND_CACHE", {"cpu": 1 << 16, "cuda": 1 << 16})


def test_the_calls_are_those_of_the_generator() -> None:
    assert [(work.shape, work.relu, work.residual) for work in kernels.works("m", batch=3, dtype="f16")] == [
        ((3, 16, 256, 256), True, False),
        ((3, 32, 128, 128), True, False),
        ((3, 64, 64, 64), True, False),
        ((3, 64, 64, 64), False, True),
    ]


@pytest.mark.parametrize(
    ("work", "moved"),
    [
        (SMALL, 2 * 960 * 4),  # in, out
        (ADDED, 3 * 960 * 4),  # and the residual in
        (Work((1, 1, 4, 4), "bf16", True, True), 3 * 16 * 2),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_bytes_are_what_must_be_moved(work: Work, moved: int) -> None:
    assert work.bytes == moved


def test_there_are_more_inputs_than_a_cache_holds() -> None:
    sets = SMALL.sets("cpu")
    assert len(sets) * SMALL.bytes >= 1 << 16
    assert not torch.equal(sets[0][0], sets[1][0])


def _nan(inputs: Inputs, relu: bool) -> Tensor:
    return kernels.plain(inputs, relu) * float("nan")


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize(
    ("name", "body", "right"),
    [
        ("eager", kernels.eager, True),
        ("plain", kernels.plain, True),
        ("no relu", lambda inputs, relu: kernels.plain(inputs, False), False),
        ("a little off", lambda inputs, relu: kernels.plain(inputs, relu) * 1.05, False),
        ("one value", lambda inputs, relu: kernels.plain(inputs, relu).index_fill_(3, torch.tensor(9), 7), False),
        ("not a number", _nan, False),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_wrong_is_seen(dtype: str, name: str, body: kernels.Body, right: bool) -> None:
    work = Work((2, 4, 12, 10), dtype, True, False)
    assert kernels.accuracy(body, work, "cpu").right is right


class TestOnTheProcessor:
    @pytest.fixture(autouse=True)
    def bodies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        versions = {"torch eager": kernels.eager, "broken": _nan}
        monkeypatch.setattr(kernels, "bodies", lambda: (versions, []))

    def test_every_body_has_a_row_beside_the_copy(self) -> None:
        ticks: list[None] = []
        threads = torch.get_num_threads()
        rows, _ = kernels.cpu_rows([SMALL, ADDED], repeats=3, tick=lambda: ticks.append(None))
        assert [(row.case, row.provider, row.n, row.unit) for row in rows] == [
            ("copy", "torch-cpu", 3, "GB/s"),
            (SMALL.name, "torch eager-cpu", 3, "GB/s"),
            (ADDED.name, "torch eager-cpu", 3, "GB/s"),
        ]
        assert len(ticks) == 3 * 4
        assert torch.get_num_threads() == threads
        for row in rows[1:]:
            assert row.config["share_of_copy"] == pytest.approx(row.p50 / rows[0].p50)
            assert row.config["microseconds"] == pytest.approx(row.config["bytes"] / row.p50 / 1e3)

    def test_what_is_wrong_is_not_timed(self) -> None:
        _, missing = kernels.cpu_rows([SMALL], repeats=1)
        assert len(missing) == 1
        assert missing[0].startswith("instance_norm_residual f32 2x4x12x10 relu, broken: wrong by nan")

    def test_a_compiler_that_fails_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(inputs: Inputs, relu: bool) -> Tensor:
            raise RuntimeError("CppCompileError: no such file\nmany more lines")

        monkeypatch.setattr(kernels, "bodies", lambda: ({"torch.compile": fails}, []))
        rows, missing = kernels.cpu_rows([SMALL], repeats=1)
        assert len(rows) == 1  # the copy
        assert missing == [f"{SMALL.name}, torch.compile: CppCompileError: no such file"]


def test_without_a_compiler_torch_compile_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    bodies, missing = kernels.bodies()
    assert set(bodies) == {"torch eager", "reference"}
    assert missing == ["torch.compile: it needs a C++ compiler, and there is none on the path"]


def test_rows_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the CPU for a GPU: what its clock says becomes rates, and what is wrong has none."""
    monkeypatch.setattr(kernels, "_gpu_copy", lambda device, repeats: [100.0] * repeats)
    monkeypatch.setattr(kernels, "_where", lambda device: {"gpu": "NVIDIA X"})

    def time(name: str, body: object, sets: Sequence[Inputs], relu: bool, replays: int) -> object:
        assert (name, body) == ("naive", kernels.plain), "what is wrong or cannot run is never timed"
        assert len(sets) > 1 and relu is SMALL.relu
        return SimpleNamespace(p20=0.1, p50=0.2, p80=0.4, n=replays)

    def cluster(inputs: Inputs, relu: bool) -> Tensor:
        raise UsageError("it needs compute capability 9.0")

    versions = {"naive": kernels.plain, "broken": _nan, "cluster": cluster}
    rows, missing = kernels.gpu_rows([SMALL], found=versions, time=time, repeats=5, device="cpu")
    assert [(row.case, row.provider) for row in rows] == [("copy", "torch-cpu"), (SMALL.name, "naive-cpu")]
    row = rows[1]
    assert (row.p20, row.p50, row.p80) == pytest.approx((SMALL.bytes / 400, SMALL.bytes / 200, SMALL.bytes / 100))
    assert row.config["share_of_copy"] == pytest.approx(row.p50 / 100)
    assert (row.config["gpu"], row.n) == ("NVIDIA X", 5)
    assert [each.partition(", ")[2] for each in missing] == [
        "broken: wrong by nan, and " + missing[0].rpartition("and ")[2],
        "cluster: it needs compute capability 9.0",
    ]
