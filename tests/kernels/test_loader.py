"""NVRTC compiles the kernels for every architecture, here, without a GPU; what it made is kept."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from dadfi_fast.errors import BackendMissing, DadfiError
from dadfi_fast.kernels import loader
from dadfi_fast.kernels.choice import GRADIENT_THREADS, SIZES
from dadfi_fast.kernels.loader import Build, compile_kernels, load_kernels

pytestmark = pytest.mark.slow

ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
CLUSTERS = ("sm_90", "sm_100", "sm_120")
#: Every kernel for every architecture: registers and spills differ from one to the next.
BUILDS = list(itertools.product(SIZES, ARCHITECTURES))
#: Threads of the largest block, and registers that all its threads share, on every one of these.
THREADS, REGISTERS = 512, 65536


@pytest.fixture(scope="module", autouse=True)
def nvrtc() -> None:
    why = loader.missing()
    if why is not None:
        pytest.skip(why)


@pytest.fixture(scope="module")
def builds() -> Iterator[dict[tuple[str, ...], Future[Build]]]:
    """All builds, begun at once on two threads: the compiler lets go of Python's lock."""
    with ThreadPoolExecutor(2) as pool:
        keys = [*BUILDS, *((*key, "gradients") for key in BUILDS)]
        yield {key: pool.submit(compile_kernels, *key) for key in keys}


@pytest.mark.parametrize(("dtype", "architecture"), BUILDS)
def test_compiles_without_spilling(builds: dict[tuple[str, ...], Future[Build]], dtype: str, architecture: str) -> None:
    build = builds[dtype, architecture].result()
    assert build.cubin.startswith(b"\x7fELF")
    width = 16 // SIZES[dtype]
    versions = ["gather", "normalise", "resident"] + ["cluster"] * (architecture in CLUSTERS)
    wide = {f"{version}_{dtype}_{layout}_x{width}" for version in versions for layout in ("nchw", "nhwc")}
    narrow = {f"{version}_{dtype}_{layout}_x1" for version in versions[:2] for layout in ("nchw", "nhwc")}
    assert build.resources.keys() == wide | narrow
    for name, resources in build.resources.items():
        assert resources.spilled == 0, name
        assert 0 < resources.registers * THREADS <= REGISTERS, name


@pytest.mark.parametrize(("dtype", "architecture"), BUILDS)
def test_gradients_compile_without_spilling(
    builds: dict[tuple[str, ...], Future[Build]], dtype: str, architecture: str
) -> None:
    kernels = builds[dtype, architecture, "gradients"].result().resources
    width = 16 // SIZES[dtype]
    expected = [(kind, f"x{n}") for kind, n in (("held", width), ("streamed", width), ("streamed", 1))]
    assert kernels.keys() == {
        f"gradients_{kind}_{dtype}_{layout}_{n}" for kind, n in expected for layout in ("nchw", "nhwc")
    }
    for name, resources in kernels.items():
        assert resources.spilled == 0 and 0 < resources.registers * GRADIENT_THREADS <= REGISTERS, name


@pytest.mark.parametrize("architecture", [80, 90])
def test_memory_is_moved_16_bytes_at_a_time(architecture: int) -> None:
    """Read from the intermediate code: a compiler may split an access that the source has in one piece."""
    listing = _ptx("f16", architecture)
    assert set(listing) > {"gather_f16_nchw_x8", "resident_f16_nhwc_x8"}
    for name, body in listing.items():
        version, wide = name.partition("_")[0], name.endswith("x8")
        copies, loads, stores = (
            len(re.findall(pattern, body))
            for pattern in (r"cp\.async\.cg\.shared\.global \[.*16;", r"ld\.global\.v4", r"st\.global\.v4\.b32")
        )
        assert bool(copies) == (version in ("resident", "cluster")), name
        assert bool(loads) == wide, name
        assert bool(stores) == (wide and version != "gather"), name
        assert ".local" not in body, f"{name} keeps an array in memory"


def _ptx(dtype: str, architecture: int) -> dict[str, str]:
    """The intermediate code of each kernel."""
    text = loader.compile_ptx(loader.SOURCES["forward"], divmod(architecture, 10), f"STORE_{dtype.upper()}")
    parts = re.split(r"\.entry (\w+)\(", text)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_what_does_not_compile_is_told_with_the_compilers_words(tmp_path: Path) -> None:
    source = tmp_path / "wrong.cu"
    source.write_text("nonsense")
    with pytest.raises(DadfiError, match=r"wrong.cu does not compile for compute_80: (.|\n)*nonsense"):
        loader.compile_ptx(source, (8, 0), "X")


def test_what_was_compiled_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def pretend(dtype: str, architecture: str, part: str) -> Build:
        compiled.append((dtype, architecture, part))
        return Build(f"code {len(compiled)}".encode(), {})

    monkeypatch.setattr(loader, "compile_kernels", pretend)
    folder = tmp_path / "cache" / "kernels"
    assert load_kernels("f16", (9, 0), folder=folder) == b"code 1"
    assert load_kernels("f16", (9, 0), folder=folder) == b"code 1"
    assert load_kernels("f16", (8, 0), folder=folder) == b"code 2", "another architecture is another file"
    assert load_kernels("bf16", (9, 0), folder=folder) == b"code 3"
    assert load_kernels("bf16", (9, 0), part="gradients", folder=folder) == b"code 4"
    assert len(list(folder.iterdir())) == 4, "nothing is left beside the files"
    monkeypatch.setattr(loader, "driver_version", lambda: 99000)
    assert load_kernels("f16", (9, 0), folder=folder) == b"code 5", "another driver is another file"


def test_a_changed_source_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in loader.FOLDER.glob("*.cu*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(loader, "FOLDER", tmp_path)
    before = loader.fingerprint("f16", (9, 0))
    assert loader.fingerprint("f16", (9, 0)) == before
    with (tmp_path / "plane.cuh").open("a") as header:
        header.write("\n")
    assert loader.fingerprint("f16", (9, 0)) != before


@pytest.mark.parametrize("file", ["choice.py", "gradients.cu", "tensorrt_plugin.py"])
def test_a_changed_launch_is_another_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """Verdicts and engines of fused nodes depend on it."""
    for each in loader.FOLDER.glob("*.*"):
        (tmp_path / each.name).write_bytes(each.read_bytes())
    monkeypatch.setattr(loader, "FOLDER", tmp_path)
    before = loader.source_digest()
    (tmp_path / "README.md").write_text("other words")
    assert loader.source_digest() == before
    with (tmp_path / file).open("a") as stream:
        stream.write("\n")
    assert loader.source_digest() != before


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 4000])
def test_a_damaged_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(loader, "compile_kernels", lambda *_: Build(b"good code", {}))
    load_kernels("f16", (9, 0), folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert load_kernels("f16", (9, 0), folder=tmp_path) == b"good code"
    assert file.read_bytes().endswith(b"good code")


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "compile_kernels", lambda *_: Build(b"code", {}))
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert load_kernels("f16", (9, 0), folder=blocked) == b"code"


@pytest.mark.parametrize(
    ("capability", "architecture"),
    [((8, 0), "sm_80"), ((8, 6), "sm_86"), ((9, 0), "sm_90"), ((12, 0), "sm_120")],
)
def test_each_gpu_has_its_architecture(capability: tuple[int, int], architecture: str) -> None:
    assert loader._architecture(capability) == architecture


def test_a_newer_gpu_of_a_known_generation_takes_older_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_supported", lambda: (75, 80, 86, 90))
    assert loader._architecture((8, 9)) == "sm_86"


@pytest.mark.parametrize("capability", [(7, 5), (11, 9), (99, 0)])
def test_a_gpu_that_cannot_be_compiled_for_is_told(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    monkeypatch.setattr(loader, "_supported", lambda: (75, 80, 86, 90))
    with pytest.raises(BackendMissing, match=f"{capability[0]}.{capability[1]}.*nvidia-cuda-nvrtc"):
        loader._architecture(capability)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_findable", lambda module: module != "cuda.core")
    assert "cuda-core is not installed" in str(loader.missing())
    with pytest.raises(BackendMissing, match=re.escape("pip install 'dadfi-fast[gpu]'")):
        load_kernels("f16", (9, 0))


def test_the_sources_are_installed(root: Path) -> None:
    """They are data to setuptools, which takes along only what it is told to."""
    assert '"dadfi_fast.kernels": ["*.cu", "*.cuh", "*.md"]' in (root / "setup.py").read_text(encoding="utf-8")
    assert {file.suffix for file in loader.FOLDER.iterdir()} <= {".py", ".cu", ".cuh", ".md", ""}
