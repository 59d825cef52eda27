"""``dadfi-fast protect``: options, messages, results and exit codes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from dadfi_fast.types import UInt8

Command = Callable[..., Result]


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of one layer, with its card: the sign of every pixel, softened, times 0.05."""
    from onnx import TensorProto, helper, numpy_helper

    folder = tmp_path_factory.mktemp("generator")
    shape = ["b", 3, "h", "w"]
    nodes = [
        helper.make_node("Mul", ["crops", "gain"], ["louder"]),
        helper.make_node("Tanh", ["louder"], ["soft"]),
        helper.make_node("Mul", ["soft", "lim"], ["delta"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("delta", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.float32(9), "gain"), numpy_helper.from_array(np.float32(0.05), "lim")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    (folder / "toy.onnx").write_bytes(model)
    facts = {
        "name": "toy",
        "family": "generator",
        "file": "toy.onnx",
        "licence": "Apache-2.0",
        "preset": "s",
        "lim": 0.05,
    }
    facts |= {"sha256": hashlib.sha256(model).hexdigest(), "image_size": 0, "parameters": 2}
    front = "\n".join(f"{key} = {value!r}" for key, value in facts.items())
    (folder / "toy.md").write_text(f"+++\n{front}\n+++\nA toy.\n", encoding="utf-8")
    return folder / "toy.onnx"


@pytest.fixture
def folder(tmp_path: Path, smooth: Callable[[int, int], UInt8]) -> Path:
    """Two pictures and a text."""
    path = tmp_path / "in"
    (path / "sub").mkdir(parents=True)
    Image.fromarray(smooth(60, 80)).save(path / "a.png")
    Image.fromarray(smooth(70, 50)).save(path / "sub" / "b.jpg", quality=90)
    (path / "note.txt").write_text("hello")
    return path


@pytest.fixture
def protect(command: Command, generator: Path, folder: Path) -> Command:
    """``protect SOURCE --out OUT`` with the toy generator, every picture one face, and no check."""
    out = folder.parent / "out"

    def run(*arguments: object, source: object = folder) -> Result:
        fixed = ("--out", out, "--generator", generator, "--detector", "none", "--check", 0)
        return command("protect", source, *fixed, *arguments)

    return run


def test_a_folder(protect: Command, folder: Path) -> None:
    result = protect("-v")
    assert result.exit_code == 0
    assert result.stdout == "2 protected, 1 skipped\n"
    assert "faces by none (named by the user)" in result.stderr and "toy on openvino-cpu" in result.stderr
    assert "written sub/b.jpg -> sub/b.jpg: 1 face, 6 levels" in result.stderr
    before, after = (np.asarray(Image.open(folder.parent / part / "a.png")).astype(int) for part in ("in", "out"))
    assert np.abs(after - before).max() == 6
    again = protect("--quiet")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "3 done before\n", "")


def test_json(protect: Command, folder: Path) -> None:
    found = json.loads(protect("--json", "--quiet").stdout)
    assert (found["total"], found["written"], found["skipped"], found["failed"], found["faces"]) == (3, 2, 1, 0, 2)
    assert found["linf"] == 6 and found["check"] is None and found["failures"] == []
    assert found["out"] == str(folder.parent / "out") and len(found["config"]) == 16


def test_rows_name_generator_and_backend(protect: Command, folder: Path, generator: Path) -> None:
    protect("--backend", "openvino")
    row = json.loads((folder.parent / "out" / "dadfi-manifest.jsonl").read_text().splitlines()[0])
    assert row["generator"] == hashlib.sha256(generator.read_bytes()).hexdigest()
    assert row["backend"].startswith("openvino-cpu") and row["backend"].endswith(": named by the user")


def test_dry_run_writes_nothing(protect: Command, folder: Path) -> None:
    result = protect("--dry-run", "--format", "webp")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "protect a.png -> a.webp",
        "skip    note.txt: no picture",
        "protect sub/b.jpg -> sub/b.webp",
    ]
    rows = json.loads(protect("--dry-run", "--json").stdout)["plan"]
    assert rows[0] == {"source": "a.png", "action": "protect", "target": "a.png", "reason": None}
    assert not (folder.parent / "out").exists()


def test_dry_run_knows_what_is_done(protect: Command, folder: Path) -> None:
    protect()
    before = (folder.parent / "out" / "dadfi-manifest.jsonl").read_bytes()
    assert protect("--dry-run").stdout.splitlines()[0] == "done    a.png -> a.png"
    lines = protect("--dry-run", "--strength", "0.03").stdout.splitlines()
    assert lines[0].startswith("skip    a.png: a.png: it was written with other settings")
    assert (folder.parent / "out" / "dadfi-manifest.jsonl").read_bytes() == before


def test_some_files_failed(protect: Command, folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"no picture")
    result = protect()
    assert result.exit_code == 1
    assert result.stdout == "2 protected, 1 skipped, 1 failed\n"
    assert "bad.jpg: read: its content is not that of a picture" in result.stderr
    assert "1 of 4 files failed" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strength", "0.2"], "--strength 0.2 is out of range"),
        (["--strength", "a lot"], "'a lot' is not a valid float"),
        (["--quality", "best"], "neither 'keep' nor a number"),
        (["--format", "gif"], "'gif' is not one of"),
        (["--verify", "5"], "is not 'all', 'none' or a percentage"),
        (["--backend", "openvin"], "did you mean 'openvino'"),
        (["--detector", "yunett"], "did you mean 'yunet'"),
        (["--detector", "yunet"], "--detector-model"),
        (["--device", "cuda:77"], "cuda"),
    ],
)
def test_wrong_usage(protect: Command, folder: Path, arguments: list[str], words: str) -> None:
    result = protect(*arguments)
    assert result.exit_code == 2 and words in result.stderr and result.stdout == ""
    assert not (folder.parent / "out").exists()


def test_wrong_folders(protect: Command, folder: Path) -> None:
    for arguments, source, words in (
        (["--out", folder], folder, "is the folder to be protected"),
        ([], folder / "missing", "does not exist"),
    ):
        result = protect(*arguments, source=source)
        assert result.exit_code == 2 and words in result.stderr


def test_nothing_to_do(protect: Command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "note.txt").write_text("hello")
    for source in (tmp_path / "empty", tmp_path / "texts", folder / "*.bmp"):
        result = protect(source=source)
        assert (result.exit_code == 3 and "there is no picture" in result.stderr) or "no file matches" in result.stderr
    assert protect("--dry-run", source=tmp_path / "empty").exit_code == 3


def test_a_disk_error_is_told(protect: Command, folder: Path) -> None:
    (folder.parent / "out").write_text("a file")
    result = protect()
    assert result.exit_code == 1 and "a part of the path is a file; name another --out" in result.stderr


def test_interrupted(protect: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    from dadfi_fast.protect.hops import Hops

    read = Hops.read

    def interrupt(hops: Hops, entry: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return read(hops, entry)

    monkeypatch.setattr(Hops, "read", interrupt)
    result = protect("--workers", 1)
    assert result.exit_code == 130 and "interrupted" in result.stderr


class TestConfigFile:
    """``--config FILE.toml``."""

    def test_the_command_line_wins(self, protect: Command, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "settings.toml"
        path.write_text(
            'format = "webp"\nstrip-gps = true\nworkers = 2\nverify = "all"\nstrength = 0.03\nquiet = true\n'
        )
        assert protect("--config", path, "--format", "png").exit_code == 0
        rows = [json.loads(line) for line in (folder.parent / "out" / "dadfi-manifest.jsonl").read_text().splitlines()]
        assert [row["target"] for row in rows] == ["a.png", None, "sub/b.png"]
        assert rows[0]["linf"] == 4 and rows[0]["written"]["linf"] == 4

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("strengthh = 0.03", "there is no option 'strengthh'; did you mean 'strength'?"),
            ("config = 'x'", "there is no option 'config'"),
            ("strength = ", "cannot be read as TOML"),
            ("strength = 'weak'", "'weak' is not a valid float"),
        ],
    )
    def test_mistakes_are_told(self, protect: Command, tmp_path: Path, text: str, words: str) -> None:
        path = tmp_path / "settings.toml"
        path.write_text(text)
        result = protect("--config", path)
        assert result.exit_code == 2 and words in result.stderr


class TestCheck:
    """What comes after the run."""

    @pytest.fixture
    def models(self, toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Toy deepfake models in place of those that ship."""
        from dadfi_fast.check import verdict
        from dadfi_fast.deepfakes import registry

        load_models, load_attributes = registry.load_models, registry.load_attributes
        monkeypatch.setattr(verdict, "load_models", lambda: load_models(folder=toy_weights))
        monkeypatch.setattr(verdict, "load_attributes", lambda: load_attributes(folder=toy_weights))

    @pytest.mark.usefixtures("models")
    def test_the_sample_is_checked(self, protect: Command) -> None:
        result = protect("--check", 1, "--json")
        found = json.loads(result.stdout)["check"]
        assert result.exit_code == 0 and found["n"] == 1 == found["n_pairs"]
        assert set(found["models"]) == {"fragile", "sturdy"}

    @pytest.mark.usefixtures("models")
    def test_too_few_protected(self, protect: Command) -> None:
        result = protect("--check", 2, "--check-min", 1)
        assert result.exit_code == 4 and "of the checked files are protected" in result.stderr
        assert "SR_mask" in result.stdout and "2 protected, 1 skipped" in result.stdout

    def test_nothing_protected_nothing_checked(self, protect: Command, folder: Path) -> None:
        result = protect("--check", 8, "--detector", "libfacedetection")
        assert result.exit_code == 0 and "no protected photo to check" in result.stderr
        assert result.stdout == "2 copied without a face, 1 skipped\n"


def test_the_options_load_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = "{'torch', 'openvino', 'cv2', 'onnxruntime', 'PIL', 'numpy'}"
    code = f"import sys, dadfi_fast.cli.protect; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
