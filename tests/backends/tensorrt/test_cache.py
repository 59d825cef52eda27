from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dadfi_fast.backends import cuda
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.tensorrt import build, cache
from dadfi_fast.errors import BackendMissing, DadfiError, DiskError
from dadfi_fast.export.fused import fuse

GPU = cuda.Gpu("NVIDIA H100 80GB HBM3", (9, 0), "13.0")
FACTS = cache.EngineFacts("tensorrt 11.4.1", "NVIDIA X sm90", "13.0", "a" * 64, "f16", "b" * 64, build.PROFILES)
posix = pytest.mark.skipif(os.name == "nt", reason="Windows keeps no mode bits")


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "gpu", lambda device="cuda": GPU)


def test_what_was_stored_is_found() -> None:
    path = cache.store(FACTS, b"engine")
    assert path.parent == cache.folder() and path.name.startswith("tensorrt-nvidia_x_sm90-f16-aaaaaaaaaaaa-")
    assert cache.find(FACTS) == b"engine"
    assert [p.suffix for p in sorted(path.parent.iterdir())] == [".engine", ".json"]  # nothing temporary is left


@pytest.mark.parametrize(
    "change",
    [
        {"runtime": "tensorrt 11.4.2"},
        {"target": "NVIDIA Y sm90"},
        {"driver": "13.1"},
        {"generator": "c" * 64},
        {"precision": "f32"},
        {"model": "c" * 64},
        {"profiles": build.PROFILES[:1]},
        {"kernels": "d" * 16},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_differs_is_another_engine(change: dict[str, object]) -> None:
    cache.store(FACTS, b"engine")
    assert cache.find(replace(FACTS, **change)) is None


@pytest.mark.parametrize("harm", ["changed", "no facts", "torn facts", "facts of another"])
def test_what_is_not_what_was_written_is_not_loaded(harm: str) -> None:
    path = cache.store(FACTS, b"engine")
    facts = path.with_suffix(".json")
    if harm == "changed":
        path.write_bytes(b"another")
    elif harm == "no facts":
        facts.unlink()
    elif harm == "torn facts":
        facts.write_text("{")
    else:
        facts.write_text(facts.read_text().replace("13.0", "12.9"))
    assert cache.find(FACTS) is None


@posix
@pytest.mark.parametrize("what", ["file", "folder", "above"])
@pytest.mark.parametrize("mode", [0o020, 0o002], ids=["group", "others"])
def test_nothing_is_loaded_from_where_others_can_write(tmp_path: Path, what: str, mode: int) -> None:
    folder = tmp_path / "above" / "engines"
    engine = cache.store(FACTS, b"engine", where=folder)
    assert cache.find(FACTS, where=folder) == b"engine"
    path = {"file": engine, "folder": folder, "above": folder.parent}[what]
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(DadfiError, match=f"others can write to {path}, .* chmod go-w"):
        cache.find(FACTS, where=folder)


@posix
def test_a_link_into_a_shared_folder_is_followed_before_it_is_judged(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    cache.store(FACTS, b"engine", where=shared)
    shared.chmod(0o777)
    (tmp_path / "link").symlink_to(shared)
    with pytest.raises(DadfiError, match="others can write"):
        cache.find(FACTS, where=tmp_path / "link")


@posix
def test_a_sticky_folder_above_is_no_danger(tmp_path: Path) -> None:
    """As /tmp is: others may add files there, not touch ours."""
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    cache.store(FACTS, b"engine", where=sticky / "mine")
    assert cache.find(FACTS, where=sticky / "mine") == b"engine"


@posix
@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_not_loaded(tmp_path: Path) -> None:
    path = cache.store(FACTS, b"engine", where=tmp_path)
    os.chown(path, 4242, 4242)
    with pytest.raises(DadfiError, match="belongs to another user"):
        cache.find(FACTS, where=tmp_path)


@posix
def test_what_is_made_is_the_users_alone(tmp_path: Path) -> None:
    path = cache.store(FACTS, b"engine", where=tmp_path / "new")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="Set DADFI_ENGINES"):
        cache.store(FACTS, b"engine", where=tmp_path / "file" / "engines")


class TestObtain:
    def test_an_engine_is_built_once(
        self, flavour: build.Flavour, generator: GeneratorFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, path = cache.obtain(flavour, generator, precision="f32")
        assert path.read_bytes() == first and generator.onnx.read_bytes() in first
        monkeypatch.setattr(build, "build", None)  # would fail if called
        assert cache.obtain(flavour, generator, precision="f32") == (first, path)

    def test_another_gpu_has_its_own(
        self, flavour: build.Flavour, generator: GeneratorFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, one = cache.obtain(flavour, generator, precision="f32")
        monkeypatch.setattr(cuda, "gpu", lambda device="cuda": replace(GPU, name="NVIDIA L4"))
        _, other = cache.obtain(flavour, generator, precision="f32")
        assert one != other and one.is_file() and other.is_file()

    def test_half_builds_the_half_file(self, flavour: build.Flavour, generator: GeneratorFile) -> None:
        full, _ = cache.obtain(flavour, generator, precision="f32")
        half, _ = cache.obtain(flavour, generator, precision="f16")
        assert len(half) < 0.6 * len(full)

    def test_timings_are_kept_for_the_next_build(self, flavour: build.Flavour, generator: GeneratorFile) -> None:
        cache.obtain(flavour, generator, precision="f32")
        cache.obtain(flavour, generator, precision="f16")
        (timings,) = cache.folder().glob("*.timings")
        assert timings.read_bytes() == b"++"  # the second build was given those of the first

    @posix
    def test_timings_that_others_could_have_written_are_not_read(
        self, flavour: build.Flavour, generator: GeneratorFile
    ) -> None:
        cache.obtain(flavour, generator, precision="f32")
        (timings,) = cache.folder().glob("*.timings")
        timings.chmod(0o666)
        with pytest.raises(DadfiError, match="others can write"):
            cache.obtain(flavour, generator, precision="f16")

    def test_an_engine_of_fused_nodes_is_another_when_the_kernels_change(
        self, flavour: build.Flavour, generator: GeneratorFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "fused.onnx").write_bytes(fuse(generator.onnx.read_bytes()))
        fused, takes = replace(generator, onnx=tmp_path / "fused.onnx"), replace(flavour, plugins=True)
        monkeypatch.setattr(build, "KERNELS", {"tensorrt": lambda: lambda: None})
        paths = []
        for digest in ("one", "other", "one"):
            monkeypatch.setattr(cache, "KERNELS", {"source": lambda digest=digest: lambda: digest})
            paths.append(cache.obtain(takes, fused, precision="f32")[1])
        assert paths[0] != paths[1] and paths[0] == paths[2]

    def test_without_a_gpu_it_says_so(
        self, flavour: build.Flavour, generator: GeneratorFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none(device: str = "cuda") -> cuda.Gpu:
            raise BackendMissing("no NVIDIA driver is installed")

        monkeypatch.setattr(cuda, "gpu", none)
        with pytest.raises(BackendMissing, match="no NVIDIA driver"):
            cache.obtain(flavour, generator, precision="f32")
