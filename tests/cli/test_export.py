"""The command ``export``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from dadfi_fast.backends import cuda
from dadfi_fast.backends.tensorrt import build
from dadfi_fast.export import parity

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check's crops, smaller than they are."""
    real = parity.pictures
    monkeypatch.setattr(parity, "pictures", lambda count=1, *, size=32, seed=0: real(1, size=32, seed=seed))


def test_onnx_and_its_card(command: Command, tmp_path: Path) -> None:
    result = command("export", "--to", "onnx", "--out", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.split() == [
        str(tmp_path / f"generator-s{suffix}") for suffix in (".onnx", ".safetensors", ".md")
    ]
    assert all(Path(line).is_file() for line in result.stdout.split())


def test_what_was_written_is_named_relative_to_here(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("export", "--to", "openvino", "--half").stdout.split() == [
        "generator-s-f16.xml",
        "generator-s-f16.bin",
    ]


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        (("onnx",), {"onnxruntime-cpu f32": "f32", "openvino-cpu bf16": "bf16", "torch-cpu bf16": "bf16"}),
        (("onnx", "--fused"), {"onnxruntime-cpu f32": "f32", "openvino-cpu f32": "f32", "openvino-cpu bf16": "bf16"}),
        (("onnx", "--half"), {"onnxruntime-cpu f32": "f16", "openvino-cpu f32": "f16", "openvino-cpu bf16": "bf16"}),
        (("openvino",), {"openvino-cpu f32": "f32", "openvino-cpu bf16": "bf16"}),
    ],
    ids=" ".join,
)
def test_the_check_as_json(command: Command, tmp_path: Path, options: tuple[str, ...], rows: dict[str, str]) -> None:
    result = command("export", "--out", tmp_path, "--check", "--json", "--to", *options)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    judged = {row["backend"]: row["precision"] for row in report["check"]}
    assert rows.items() <= judged.items()
    assert "torch-cpu f32" not in judged  # that is what they are compared with
    assert all(row["within"] and row["against"] == "torch-cpu f32" for row in report["check"])
    assert report["not_run"] == [] and report["layers"] == {}


def test_the_check_as_tables(command: Command, tmp_path: Path) -> None:
    result = command("export", "--to", "onnx", "--half", "--out", tmp_path, "--check", "--layers")
    lines = result.stdout.splitlines()
    assert lines[3] == "against torch-cpu f32, in levels of 0-255; pixels: share of values that differ by a whole level"
    assert lines[4].split() == ["backend", "judged", "as", "largest", "rms", "pixels", "within"]
    assert lines[5].startswith("onnxruntime-cpu f32  f16")
    assert "openvino-cpu bf16, each layer in its own scale" in lines
    assert len([line for line in lines if line.startswith("blocks.")]) == 3 * 8


def test_a_difference_that_is_too_large_fails(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.LIMITS, "bf16", (1e-9, 1e-9))
    result = command("export", "--to", "openvino", "--out", tmp_path, "--check")
    assert result.exit_code == 1
    assert "difference from float32 above the limit of its precision: openvino-cpu bf16" in result.stderr
    assert "NO" in result.stdout


def test_the_faces_of_photos(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def crops(folder: Path, *, size: int) -> object:
        folders.append(folder)
        return parity.pictures(1)

    monkeypatch.setattr(parity, "photo_crops", crops)
    assert command("export", "--to", "openvino", "--out", tmp_path, "--check", "--photos", tmp_path).exit_code == 0
    assert folders == [tmp_path]


@pytest.mark.extras("tensorrt-rtx")
def test_engines_for_cards_that_are_not_here(command: Command, tmp_path: Path) -> None:
    result = command("export", "--to", "tensorrt-rtx", "--arch", "sm80, sm89,sm120", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    names = [Path(line).name for line in result.stdout.splitlines()]
    assert [name.split("-")[1:3] for name in names] == [["sm80", "f16"], ["sm89", "f16"], ["sm120", "f16"]]


@pytest.mark.extras("tensorrt-rtx")
@pytest.mark.skipif(cuda.missing() is None, reason="there is a GPU")
def test_a_check_that_cannot_be_made_fails(command: Command, tmp_path: Path) -> None:
    result = command("export", "--to", "tensorrt-rtx", "--arch", "sm89", "--full", "--out", tmp_path, "--check")
    assert result.exit_code == 1
    assert Path(result.stdout.split()[0]).is_file()  # written all the same
    assert "cannot be run on this machine: tensorrt-rtx: " in result.stderr
    assert "no NVIDIA driver" in result.stderr


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "--to"),
        (("--to", "onyx"), "onnx"),
        (("--to", "onnx", "--arch", "sm89"), "--arch is for tensorrt-rtx"),
        (("--to", "onnx", "--layers"), "--layers and --photos need --check"),
        (("--to", "openvino", "--fused"), "--fused is for onnx and tensorrt"),
        (("--to", "openvino", "--check", "--layers"), "--layers needs --to onnx"),
        (("--to", "onnx", "--generator", "generator-x"), "generator-x"),
    ],
)
def test_wrong_usage(command: Command, tmp_path: Path, options: tuple[str, ...], why: str) -> None:
    result = command("export", *options, "--out", tmp_path)
    assert result.exit_code == 2
    assert why in result.stderr


@pytest.mark.skipif(build.TENSORRT.installed, reason="tensorrt is installed")
def test_what_is_not_installed_is_told(command: Command, tmp_path: Path) -> None:
    result = command("export", "--to", "tensorrt", "--out", tmp_path)
    assert result.exit_code == 2
    assert "tensorrt is not installed. Run: pip install 'dadfi-fast[tensorrt]'" in result.stderr
