"""Ray on two nodes of this machine: the same rows and files as one process, also where a worker is killed."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.faces.none import Whole
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed import chunker
from dadfi_fast.protect.distributed.ray import CORES, Capacity, Ray, capacity, connect
from dadfi_fast.protect.distributed.run import protect_distributed
from dadfi_fast.protect.distributed.worker import ContextFactory, GeneratorContextFactory
from dadfi_fast.protect.manifest import NAME, Facts
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.pipeline import protect
from dadfi_fast.protect.results import Outcome
from dadfi_fast.protect.summary import Summary
from dadfi_fast.storage.paths import AnyPath, RemotePath, parse_url
from tests.protect.distributed.fatal import Fatal

Fill = Callable[[dict[str, bytes | None]], Path]
PHOTOS = 24


def node(cpu: float, gpu: float = 0, *, alive: bool = True) -> dict[str, Any]:
    """A node as Ray lists it."""
    return {"Alive": alive, "Resources": {"CPU": cpu, **({"GPU": gpu} if gpu else {})}}


@pytest.mark.parametrize(
    ("nodes", "device", "workers", "count", "expected"),
    [
        ([node(4)], "cpu", None, None, Capacity(1, 4, 0)),
        ([node(16), node(4)], "cpu", None, None, Capacity(5, 4, 0)),  # the smallest node has room for one
        ([node(64), node(64)], "cpu", None, None, Capacity(16, CORES, 0)),
        ([node(64), node(64, alive=False)], "cpu", None, None, Capacity(8, CORES, 0)),
        ([node(64)], "cpu", 2, None, Capacity(32, 2, 0)),
        ([node(64)], "cpu", None, 3, Capacity(3, CORES, 0)),
        ([node(0), node(2)], "cpu", None, None, Capacity(1, 2, 0)),  # a head that does no work
        ([node(16, 8), node(4)], "cuda", None, None, Capacity(8, 2, 1)),
        ([node(96, 4), node(96, 4)], "cuda", None, None, Capacity(8, CORES, 1)),
        ([node(96, 4)], "cuda", 12, 2, Capacity(2, 12, 1)),
        ([node(2, 4)], "cuda", None, None, Capacity(4, 1, 1)),  # fewer cores than GPUs
    ],
)
def test_seats(nodes: Any, device: str, workers: int | None, count: int | None, expected: Capacity) -> None:
    assert capacity(nodes, device=device, workers=workers, count=count) == expected


@pytest.mark.parametrize(
    ("nodes", "device", "workers", "words"),
    [([node(8)], "cuda", None, "has a GPU"), ([node(8)], "cpu", 16, "has 16 cores"), ([node(0)], "cpu", None, "cores")],
)
def test_no_room(nodes: Any, device: str, workers: int | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        capacity(nodes, device=device, workers=workers, count=None)


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    config = ProtectConfig(sources=("in",), out=tmp_path)
    with pytest.raises(BackendMissing, match=r"pip install 'dadfi-fast\[ray\]'"):
        Ray(config, lambda _: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(("source", "out"), [("memory://in", "out"), ("in", "memory:///shop/out")])
def test_memory_is_of_one_process(memory: str, source: str, out: str) -> None:
    config = ProtectConfig(sources=(source,), out=parse_url(out) if "://" in out else Path(out))
    with pytest.raises(UsageError, match="in the memory of one process"):
        Ray(config, lambda _: None)  # type: ignore[arg-type,return-value]


needs_ray = [pytest.mark.slow, pytest.mark.extras("ray")]


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a cluster of two nodes, each with room for one worker; without dashboard and statistics."""
    try:
        request.getfixturevalue("s3_server")  # first, as Ray's processes have the environment of now
    except pytest.skip.Exception as reason:
        print(f"without S3: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        ray_cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        ray_cluster.add_node(num_cpus=1)
        ray = connect(ray_cluster.address)
        yield str(ray_cluster.address)
        ray.shutdown()
        ray_cluster.shutdown()


@pytest.fixture
def factory() -> GeneratorContextFactory:
    """The real generator; whole pictures are faces."""
    sha256 = load_generator_file("generator-s").sha256
    return GeneratorContextFactory(
        generator="generator-s", sha256=sha256, backend="openvino", detector="none", detector_model=None
    )


@pytest.fixture
def names(photos: Fill) -> list[str]:
    """Photos and a text in the folder ``in``; their names in order."""
    photo_names = [f"{n % 3}/{n:02}.jpg" for n in range(PHOTOS)]
    photos({**dict.fromkeys(photo_names), "n.txt": b"hi"})
    return ["n.txt", *sorted(photo_names)]


def settings(source: AnyPath, out: AnyPath) -> ProtectConfig:
    """A run of one thread a worker."""
    return ProtectConfig(sources=(str(source),), out=out, detector="none", workers=1, batch=2)


def by_ray(
    config: ProtectConfig, factory: ContextFactory, address: str, tick: Callable[[Outcome], object] = lambda _: None
) -> tuple[Summary, list[str]]:
    """Protects; gives the summary, and what was said."""
    said: list[str] = []
    with closing(Ray(config, factory, address=address)) as pool:
        assert pool.size == 2
        summary = protect_distributed(
            pool, config, facts=Facts(config.fingerprint, load_generator_file("generator-s").sha256, ""),
            say=said.append, meter=Meter(compute=2, disk=12, generators=2), tick=tick,
        )  # fmt: skip
    return summary, said


def rows(out: AnyPath) -> list[dict[str, Any]]:
    """The manifest, without what differs from run to run and from place to place."""
    entries = map(json.loads, (out / NAME).read_bytes().splitlines())
    return [{**row, "seconds": None, "stat": row["stat"][0]} for row in entries]


def files(out: AnyPath) -> dict[str, bytes]:
    """Everything but the manifest."""
    if isinstance(out, Path):
        return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != NAME}
    keys = {key[len(out.key) + 1 :]: key for key in out.store.system.find(out.key)}
    return {name: out.store.system.cat_file(key) for name, key in keys.items() if name != NAME}


@pytest.fixture
def expected(names: list[str], factory: GeneratorContextFactory, tmp_path: Path) -> ProtectConfig:
    """The run of one process."""
    config = settings(tmp_path / "in", tmp_path / "one")
    context = factory(config)
    assert protect(config, detector=Whole(), attack=context.attack, facts=context.facts).written == PHOTOS
    return config


class TestTwoNodes:
    """On a cluster of two nodes."""

    pytestmark = needs_ray

    def test_from_disk_to_disk(
        self, cluster: str, names: list[str], factory: GeneratorContextFactory, expected: ProtectConfig,
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(chunker, "SIZES", (4, 4))
        config = settings(tmp_path / "in", tmp_path / "two")
        came: list[str] = []
        fatal = Fatal(factory, tmp_path / "died")
        summary, said = by_ray(config, fatal, cluster, lambda outcome: came.append(outcome.entry.name))
        assert (summary.written, summary.skipped, summary.failed, summary.done) == (PHOTOS, 1, 0, 0)
        assert [line for line in said if "was lost" in line and "of its 4 inputs" in line]
        assert came == names and rows(config.out) == rows(expected.out) and files(config.out) == files(expected.out)

    @pytest.mark.extras("s3")
    def test_from_s3_to_s3(
        self, cluster: str, s3: str, names: list[str], factory: GeneratorContextFactory, expected: ProtectConfig,
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(chunker, "SIZES", (4, 4))
        monkeypatch.setattr("dadfi_fast.protect.commit.GROUP", 2)
        source: RemotePath = parse_url(f"{s3}/in")
        for name in names:
            source.store.system.put_file(str(tmp_path / "in" / name), (source / name).key)
        config = settings(source, parse_url(f"{s3}/out"))
        summary, said = by_ray(config, Fatal(factory, tmp_path / "died"), cluster)
        assert (summary.written, summary.skipped, summary.failed, summary.done) == (PHOTOS, 1, 0, 0)
        assert [line for line in said if "was lost" in line and "of its 4 inputs" in line]
        assert rows(config.out) == rows(expected.out) and files(config.out) == files(expected.out)
        again, _ = by_ray(config, factory, cluster)
        assert (again.done, again.written) == (PHOTOS + 1, 0)
        for row in rows(config.out):
            if row["target"]:
                assert hashlib.sha256((config.out / row["target"]).read_bytes()).hexdigest() == row["sha256_target"]

    def test_what_a_worker_refuses_ends_the_run(
        self, cluster: str, names: list[str], factory: GeneratorContextFactory, tmp_path: Path
    ) -> None:
        other = GeneratorContextFactory(**{**vars(factory), "sha256": "of another version"})
        with pytest.raises(UsageError, match="is a different file on this machine"):
            by_ray(settings(tmp_path / "in", tmp_path / "out"), other, cluster)

    def test_by_the_command_line(
        self, cluster: str, command: Callable[..., Result], names: list[str], expected: ProtectConfig, tmp_path: Path
    ) -> None:
        arguments = (
            "protect", tmp_path / "in", "--out", tmp_path / "two", "--engine", "ray", "--ray-address", cluster,
            "--detector", "none", "--check", 0, "--workers", 1, "--batch", 2, "--json",
        )  # fmt: skip
        plan = json.loads(command(*arguments, "--dry-run").stdout)["plan"]
        assert [row["source"] for row in plan if row["action"] == "protect"] == names[1:]
        result = command(*arguments)
        assert result.exit_code == 0 and json.loads(result.stdout)["written"] == PHOTOS
        assert "generator-s on 2 workers of 1 thread" in result.stderr and f"{PHOTOS + 1} photos in" in result.stderr
        assert files(tmp_path / "two") == files(expected.out)
