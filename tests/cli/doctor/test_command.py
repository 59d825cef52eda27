from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from dadfi_fast import device
from dadfi_fast.backends.registry import BACKENDS
from dadfi_fast.cli.doctor import machine, software, speed
from dadfi_fast.cli.doctor.machine import Finding
from dadfi_fast.cli.doctor.portrait import portrait
from dadfi_fast.faces.detector import DETECTORS, choose_detector
from dadfi_fast.images.jpeg import with_metadata
from dadfi_fast.images.tag import tagged
from dadfi_fast.types import Metadata

Command = Callable[..., Result]
KINDS = {"processor", "memory", "disk", "driver", "gpu", "backend", "detector", "codec", "decoder", "encoder", "model"}
KINDS |= {"engine", "store"}  # who can work elsewhere, and where files may lie
KINDS |= {"kernels"}


@pytest.fixture
def weights(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models that the doctor looks at."""
    monkeypatch.setattr(software, "folders", lambda: [toy_weights])
    return toy_weights


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements of a fraction of a second."""
    monkeypatch.setattr(speed.measure, "__kwdefaults__", {"seconds": 0.2})
    monkeypatch.setattr(speed.measure_disk, "__kwdefaults__", {"seconds": 0.05})


@pytest.mark.usefixtures("weights")
def test_it_looks_at_everything(command: Command) -> None:
    done = command("doctor", "--json", "--no-measure")
    report = json.loads(done.stdout)
    assert done.exit_code == 0 and not done.stderr
    assert set(report) == {"version", "python", "machine", "findings", "auto", "speed"}
    assert {finding["kind"] for finding in report["findings"]} == KINDS
    names = {kind: [f["name"] for f in report["findings"] if f["kind"] == kind] for kind in KINDS}
    assert names["backend"] == list(BACKENDS) and names["detector"] == list(DETECTORS)
    assert names["codec"] == [
        "JPEG", "PNG", "PNG 16 bit", "WEBP", "TIFF", "TIFF 16 bit", "AVIF", "HEIF", "BMP",
    ]  # fmt: skip
    assert (names["decoder"], names["encoder"]) == (["dali"], ["nvimgcodec"])
    assert report["speed"] is None
    auto = report["auto"]
    assert auto["backend"] in BACKENDS and auto["detector"] in DETECTORS and auto["workers"] == device.cores()
    assert auto["runs"].startswith(f"{auto['backend']}-cpu")


@pytest.mark.usefixtures("weights", "short")
def test_it_ends_with_the_speed_to_expect(command: Command, tmp_path: Path) -> None:
    done = command("doctor", "--scratch", tmp_path)
    assert done.exit_code == 0 and "skip with --no-measure" in done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("Expect ") and "photos/s from disk to disk" in last
    assert "a synthetic portrait (JPEG, 1.5 megapixels, 1 face)" in last
    (disk,) = [line for line in done.stdout.splitlines() if line.startswith("disk")]
    assert str(tmp_path) in disk and "MB/s" in disk and "files/s" in disk
    assert list(tmp_path.iterdir()) == []  # it cleans up


@pytest.mark.usefixtures("weights", "short")
def test_the_users_photo_is_measured(command: Command, examples: Path, tmp_path: Path) -> None:
    photo = tmp_path / "group.jpg"  # one that is protected already is measured as well
    photo.write_bytes(with_metadata((examples / "group.jpg").read_bytes(), Metadata(xmp=tagged(None, strength=0.05))))
    done = command("doctor", "--photo", photo, "--scratch", tmp_path, "--json", "--quiet")
    speed = json.loads(done.stdout)["speed"]
    assert not done.stderr and speed["photo"] == str(photo)
    assert (speed["format"], speed["megapixels"], speed["faces"]) == ("JPEG", 0.9, 6)
    assert speed["photos"] >= 8
    assert speed["photos_per_second"] == pytest.approx(speed["photos"] / speed["seconds"], rel=0.1)


@pytest.mark.usefixtures("weights", "short")
def test_a_photo_that_is_none_is_wrong_usage(command: Command, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    done = command("doctor", "--photo", tmp_path / "note.txt", "--scratch", tmp_path)
    assert done.exit_code == 2 and "cannot protect --photo" in done.stderr and "note.txt" in done.stderr


def test_the_drawn_face_is_found() -> None:
    from dadfi_fast.images.decode import decode, open_picture

    photo = decode(open_picture(portrait(), max_pixels=10**7), Path("drawn"))
    (face,) = choose_detector()[0](photo.pixels)
    assert abs((face.x0 + face.x1) / 2 - 540) < 60 and face.width > 350


@pytest.mark.usefixtures("weights")
def test_what_is_missing_is_told_with_its_remedy(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKENDS["onnxruntime"](), "missing", lambda: "it is not installed; run: pip install x")
    done = command("doctor", "--no-measure")
    assert done.exit_code == 0
    lines = [line for line in done.stdout.splitlines() if "onnxruntime" in line]
    assert lines[0].split()[:3] == ["backend", "onnxruntime", "no"] and lines[0].endswith("it is not installed")
    assert lines[1] == "  backend onnxruntime: pip install x"


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ("torch is not installed; run: pip install x", ("torch is not installed", "pip install x")),
        ("it needs its file; pass --model FILE (from there)", ("it needs its file", "pass --model FILE (from there)")),
        ("x.onnx is missing; reinstall dadfi-fast", ("x.onnx is missing", "reinstall dadfi-fast")),
        ("x.onnx is missing. Reinstall dadfi-fast.", ("x.onnx is missing", "Reinstall dadfi-fast.")),
        ("torch is not installed. Run: pip install torch", ("torch is not installed", "pip install torch")),
        ("it does not run here", ("it does not run here", None)),
    ],
)
def test_a_remedy_is_told_from_a_reason(why: str, expected: tuple[str, str | None]) -> None:
    assert software._split(why) == expected


def test_every_backend_that_is_missing_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for finding in software.backends(gpus=0):
        assert not finding.ok and finding.mend and finding.mend.startswith("pip install"), finding


@pytest.mark.usefixtures("weights")
def test_without_a_backend_nothing_can_be_protected(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BACKENDS:
        monkeypatch.setattr(BACKENDS[name](), "missing", lambda: "not here")
    done = command("doctor", "--no-measure", "--json")
    assert done.exit_code == 1
    assert "no working backend" in done.stderr
    assert json.loads(done.stdout)["auto"] is None


def test_without_models_nothing_can_be_protected(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "folders", lambda: [tmp_path])
    done = command("doctor", "--no-measure")
    assert done.exit_code == 1
    assert "no working model" in done.stderr


def test_damaged_weights_are_noticed(command: Command, weights: Path) -> None:
    file = weights / "seer.onnx"
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:-1])
        done = command("doctor", "--no-measure")
    finally:
        file.write_bytes(whole)
    assert done.exit_code == 1
    assert "damaged: seer" in done.stderr
    assert "model seer: Reinstall dadfi-fast" in done.stdout


def test_a_codec_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from dadfi_fast.images import heif

    heif.register.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    findings = {finding.name: finding for finding in software.codecs()}
    heif.register.cache_clear()
    assert not findings["HEIF"].ok and findings["HEIF"].mend == "pip install 'dadfi-fast[heif]'"
    assert findings["JPEG"].ok and findings["JPEG"].mend is None


def test_what_works_on_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    here, there = (software.gpu_codecs(gpus=gpus) for gpus in (0, 1))
    assert all(finding.ok and "no GPU here" in finding.note for finding in here)
    assert all(finding.ok and "--device cuda is untested" in finding.note for finding in there)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for finding, name in zip(software.gpu_codecs(gpus=1), ("NVIDIA DALI", "nvImageCodec"), strict=True):
        assert not finding.ok and finding.note.startswith(f"{name} is not installed")
        assert finding.mend == "pip install 'dadfi-fast[dali]'"


class Driver:
    """Stands in for NVIDIA's driver library; ``code`` is what its first call comes to."""

    def __init__(self, *names: str, code: int = 0) -> None:
        self.names, self.code = names, code

    def cuDriverGetVersion(self, value: Any) -> int:  # noqa: N802
        value._obj.value = 12080
        return 0

    def cuInit(self, _flags: int) -> int:  # noqa: N802
        return self.code

    def cuGetErrorString(self, _code: int, text: Any) -> int:  # noqa: N802
        text._obj.value = b"no CUDA-capable device is detected"
        return 0

    def cuDeviceGetCount(self, value: Any) -> int:  # noqa: N802
        value._obj.value = len(self.names)
        return 0

    def cuDeviceGetName(self, text: Any, _size: int, index: int) -> int:  # noqa: N802
        text.value = self.names[index].encode()
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, _index: int) -> int:  # noqa: N802
        size._obj.value = 80 * 10**9
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, _index: int) -> int:  # noqa: N802
        value._obj.value = {75: 9, 76: 0}[which]
        return 0


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ``nvidia-smi`` that says 570.1."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 570.1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


def test_what_has_never_run_on_a_gpu_says_so() -> None:
    notes = {finding.name: finding.note for finding in software.backends(gpus=1) if finding.ok}
    words = "; --device cuda is untested"
    assert notes["torch"].endswith(words) and notes["onnxruntime"].endswith(words)
    assert notes["openvino"] == "cpu"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
@pytest.mark.usefixtures("smi")
def test_gpus_are_listed_by_the_driver() -> None:
    driver, *gpus = machine.graphics(lambda: Driver("NVIDIA H100", "NVIDIA L4"))
    assert driver == Finding("driver", "nvidia 570.1", True, "runs CUDA up to 12.8")
    assert [gpu.name for gpu in gpus] == ["cuda:0", "cuda:1"] and all(gpu.ok for gpu in gpus)
    assert gpus[0].note == "NVIDIA H100, 80.0 GB, compute capability 9.0"


def test_a_driver_without_a_gpu_says_why() -> None:
    driver, gpu = machine.graphics(lambda: Driver(code=100))
    assert not driver.ok and not gpu.ok
    assert gpu.note == "the driver finds none: no CUDA-capable device is detected"
    assert gpu.mend is not None and "--gpus all" in gpu.mend


def test_no_driver_is_said_plainly() -> None:
    def missing() -> ctypes.CDLL:
        raise OSError("libcuda.so.1: cannot open shared object file")

    driver, gpu = machine.graphics(missing)
    assert (driver.ok, gpu.ok) == (False, False)
    assert driver.note == "not installed" and "everything runs on the CPU" in gpu.note


@pytest.mark.gpu
def test_a_real_gpu_is_found() -> None:
    assert all(finding.ok for finding in machine.graphics())


@pytest.mark.parametrize(
    ("free", "ok"),
    [(None, True), ((100e9, 128e9), True), ((0.4e9, 1e9), False)],
    ids=["unknown", "plenty", "too little"],
)
def test_memory(free: tuple[int, int] | None, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: free)
    finding = machine.memory()
    assert finding.ok is ok and (finding.mend is None) is ok


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text
    files = {
        "/proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\n",
        "/sys/fs/cgroup/memory.max": "2000000000\n",
        "/sys/fs/cgroup/memory.current": "500000000\n",
    }
    monkeypatch.setattr(Path, "read_text", lambda path, **more: files.get(str(path)) or read(path, **more))
    assert machine.free_memory() == (1_500_000_000, 2_000_000_000)
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert machine.free_memory() == (6_144_000_000, 8_192_000_000)


def test_no_framework_is_loaded_to_look_for_a_gpu() -> None:
    code = """
import sys
from dadfi_fast.cli.doctor import machine, software
list(machine.graphics()), software.backends(gpus=1)
print(sorted({'torch', 'onnxruntime', 'openvino', 'tensorrt'} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
