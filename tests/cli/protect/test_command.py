"""``dadfi-fast protect``: options, messages, results and exit codes."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from dadfi_fast.protect.meter import STAGES
from dadfi_fast.types import UInt8

Command = Callable[..., Result]


def table(result: Result) -> dict[str, int]:
    """The table of files in what is printed."""
    lines = iter(result.stdout.splitlines())
    next(line for line in lines if line.split() == ["files", "n"])
    cells = (line.rsplit(maxsplit=1) for line in lines)
    rows = itertools.takewhile(lambda row: len(row) == 2 and row[1].isdigit(), cells)
    return {name: int(n) for name, n in rows}


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
    assert table(result) == {"protected": 2, "skipped: not an image": 1}
    last = result.stdout.splitlines()[-1]
    assert last.startswith("2 faces changed, by at most 6 of 255 levels; ") and last.split("slowest: ")[1] in STAGES
    assert "stage    photos  photos/s alone  thread load" in result.stdout
    assert "detector: none (named by the user)" in result.stderr and "toy on openvino-cpu" in result.stderr
    assert "written sub/b.jpg -> sub/b.jpg: 1 face, strength 0.05, 6 levels" in result.stderr
    before, after = (np.asarray(Image.open(folder.parent / part / "a.png")).astype(int) for part in ("in", "out"))
    assert np.abs(after - before).max() == 6
    again = protect("--quiet")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "files         n\ndone earlier  3\n", "")


def test_json(protect: Command, folder: Path) -> None:
    counts = json.loads(protect("--json", "--quiet").stdout)
    assert (counts["total"], counts["written"], counts["skipped"], counts["failed"], counts["faces"]) == (3, 2, 1, 0, 2)
    assert counts["linf"] == 6 and counts["check"] is None and counts["failures"] == []
    assert counts["out"] == str(folder.parent / "out") and len(counts["config"]) == 16


def test_rows_name_generator_and_backend(protect: Command, folder: Path, generator: Path) -> None:
    protect("--backend", "openvino")
    row = json.loads((folder.parent / "out" / "dadfi-manifest.jsonl").read_text().splitlines()[0])
    assert row["generator"] == hashlib.sha256(generator.read_bytes()).hexdigest()
    assert row["backend"].startswith("openvino-cpu") and ": named by the user; 4 faces a call, " in row["backend"]


def test_dry_run_writes_nothing(protect: Command, folder: Path) -> None:
    result = protect("--dry-run", "--format", "webp")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "protect a.png -> a.webp",
        "skip    note.txt: not an image",
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
    assert lines[0].startswith("skip    a.png: a.png: written with other settings")
    assert (folder.parent / "out" / "dadfi-manifest.jsonl").read_bytes() == before


def test_some_files_failed(protect: Command, folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"no picture")
    result = protect()
    assert result.exit_code == 1
    assert table(result) == {"protected": 2, "skipped: not an image": 1, "failed": 1}
    assert "bad.jpg: read: not a supported image file (despite its extension)" in result.stderr
    assert "1 of 4 files failed" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strength", "0.2"], "--strength 0.2 is out of range"),
        (["--strength", "a lot"], "'a lot' is neither 'subtle', 'strong', 'auto' nor a number"),
        (["--quality", "best"], "neither 'keep' nor a number"),
        (["--format", "gif"], "'gif' is not one of"),
        (["--verify", "5"], "is not 'all', 'none' or a percentage"),
        (["--backend", "openvin"], "did you mean 'openvino'"),
        (["--detector", "yunett"], "did you mean 'yunet'"),
        (["--detector", "yunet"], "--detector-model"),
        (["--device", "cuda:77"], "cuda"),
        (["--chroma", "kep"], "Did you mean 'keep'?"),
        (["--trailer", "keep"], "--trailer was removed. Data appended to a JPEG"),
        (["--animated", "all"], "'all' is not one of"),
        (["--watch", "--interval", "0"], "--interval"),
        (["--watch", "--check-min", "0.5"], "--watch skips the check"),
        (["--watch", "--dry-run"], "--watch"),
    ],
)
def test_wrong_usage(protect: Command, folder: Path, arguments: list[str], words: str) -> None:
    result = protect(*arguments)
    assert result.exit_code == 2 and words in result.stderr and result.stdout == ""
    assert not (folder.parent / "out").exists()


def test_wrong_folders(protect: Command, folder: Path) -> None:
    for arguments, source, words in (
        (["--out", folder], folder, "is also a SOURCE"),
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
        assert (result.exit_code == 3 and "no image found" in result.stderr) or "no file matches" in result.stderr
    assert protect("--dry-run", source=tmp_path / "empty").exit_code == 3


def test_a_disk_error_is_told(protect: Command, folder: Path) -> None:
    (folder.parent / "out").write_text("a file")
    result = protect()
    assert result.exit_code == 1 and "a part of the path is a file. Choose another --out" in result.stderr


def test_interrupted(protect: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from dadfi_fast.protect.stages import Stages

    read = Stages.read

    def interrupt(stages: Stages, entry: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return read(stages, entry)

    monkeypatch.setattr(Stages, "read", interrupt)
    result = protect("--workers", 1)
    assert result.exit_code == 130 and "interrupted" in result.stderr


def test_the_mark_and_doing_it_again(protect: Command, folder: Path, command: Command, generator: Path) -> None:
    protect()
    fixed = ("--generator", generator, "--detector", "none", "--check", 0, "-v")
    second = command("protect", folder.parent / "out", "--out", folder.parent / "second", *fixed)
    assert second.exit_code == 0 and table(second) == {"skipped: already protected": 2}
    assert "skipped a.png: already protected" in second.stderr
    again = command("protect", folder.parent / "out", "--out", folder.parent / "second", *fixed, "--again")
    assert table(again) == {"protected": 2}
    bare = protect("--no-mark", "--out", folder.parent / "bare")
    assert bare.exit_code == 0
    third = command("protect", folder.parent / "bare", "--out", folder.parent / "third", *fixed)
    assert table(third) == {"protected": 2}


def test_trailers_and_animations_are_told(protect: Command, folder: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("teal", "navy")]
    frames[0].save(folder / "c.webp", save_all=True, append_images=frames[1:])
    film = (folder / "sub" / "b.jpg").read_bytes() + b"\0\0\0\x18ftypmp42" + bytes(999)
    (folder / "d.jpg").write_bytes(film)
    refused = protect("-v")
    assert refused.exit_code == 1 and "c.webp: read: the file has 2 frames or pages" in refused.stderr
    assert "written d.jpg -> d.jpg: 1 face, strength 0.05, 6 levels; dropped trailing video (0.0 MB)" in refused.stderr
    result = protect("-v", "--animated", "first", "--out", folder.parent / "other")
    (line,) = [line for line in result.stderr.splitlines() if "c.webp" in line]
    assert result.exit_code == 0 and line.endswith(" levels; only frame 1 of 2")
    assert b"ftyp" not in (folder.parent / "other" / "d.jpg").read_bytes()


class TestConfigFile:
    """``--config FILE.toml``."""

    def test_a_switch_that_is_off(self, protect: Command, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "settings.toml"
        path.write_text("mark = false\n")
        assert protect("--config", path).exit_code == 0
        assert b"dadfi" not in (folder.parent / "out" / "a.png").read_bytes()
        assert protect("--config", path, "--mark", "--on-exists", "overwrite").exit_code == 0
        assert b"dadfi:Protected" in (folder.parent / "out" / "a.png").read_bytes()

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
            ("strengthh = 0.03", "unknown option 'strengthh' (did you mean 'strength'?)"),
            ("config = 'x'", "unknown option 'config'"),
            ("trailer = 'keep'", "option 'trailer' was removed. Data appended to a JPEG"),
            ("strength = ", "as TOML: "),
            ("strength = 'weak'", "'weak' is neither 'subtle', 'strong', 'auto' nor a number"),
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
        import dadfi_fast.check.result  # noqa: F401  # which would else keep the toys when it is first imported below
        from dadfi_fast.deepfakes import registry

        load_models, load_attributes = registry.load_models, registry.load_attributes
        monkeypatch.setattr(registry, "load_models", lambda: load_models(folder=toy_weights))
        monkeypatch.setattr(registry, "load_attributes", lambda: load_attributes(folder=toy_weights))

    @pytest.mark.usefixtures("models")
    def test_the_sample_is_checked(self, protect: Command) -> None:
        result = protect("--check", 1, "--json")
        report = json.loads(result.stdout)["check"]
        assert result.exit_code == 0 and report["n"] == 1 == report["n_pairs"]
        assert set(report["models"]) == {"fragile", "sturdy"}

    @pytest.mark.usefixtures("models")
    def test_too_few_protected(self, protect: Command) -> None:
        result = protect("--check", 2, "--check-min", 1)
        assert result.exit_code == 4 and "against every model, below --check-min" in result.stderr
        assert "SR_mask" in result.stdout and table(result)["protected"] == 2
        assert (
            "was trained against none of them; it was not trained against fragile, sturdy,"
            " so these show how well protection transfers" in result.stdout
        )

    def test_nothing_protected_nothing_checked(self, protect: Command, folder: Path) -> None:
        result = protect("--check", 8, "--detector", "libfacedetection")
        assert result.exit_code == 0 and "no protected photo to check" in result.stderr
        assert table(result) == {"copied: no face": 2, "skipped: not an image": 1}


def test_the_options_load_nothing_heavy() -> None:
    heavy = "{'torch', 'openvino', 'cv2', 'onnxruntime', 'PIL', 'numpy'}"
    code = f"import sys, dadfi_fast.cli.protect.command; print(sorted({heavy} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


@pytest.fixture
def arguments(folder: Path, generator: Path) -> list[str]:
    """``protect SOURCE --out OUT`` for another process."""
    out = folder.parent / "out"
    options = ("protect", folder, "--out", out, "--generator", generator, "--detector", "none", "--check", 0)
    return [sys.executable, "-m", "dadfi_fast.cli", *map(str, options)]


def test_piped_there_is_no_colour_and_no_bar(arguments: list[str]) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr and "━" not in done.stderr
    assert done.stdout.splitlines()[0].split() == ["files", "n"] and "3 photos in" in done.stderr


def test_json_alone_is_on_stdout(arguments: list[str], folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"no picture")
    done = subprocess.run([*arguments, "--json", "-v"], capture_output=True, text=True, timeout=120)
    summary = json.loads(done.stdout)
    assert done.returncode == 1 == summary["failed"] and "photos in" in done.stderr
    assert summary["bottleneck"] in STAGES and summary["stages"]["encode"]["photos_per_second"] > 0


def form(value: object) -> object:
    """Names and types of what JSON holds; of a list those of its first item."""
    if isinstance(value, dict):
        return {name: form(item) for name, item in sorted(value.items())}
    if isinstance(value, list):
        return [form(item) for item in value[:1]]
    return type(value).__name__


def test_summary_and_rows_keep_the_form_that_scripts_rely_on(arguments: list[str], folder: Path) -> None:
    """`form.json` is that form. Names may be added there; one that goes, or another type, breaks scripts."""
    (folder / "bad.jpg").write_bytes(b"no picture")
    (folder / "note.txt").write_bytes(b"no picture either")
    done = subprocess.run([*arguments, "--json"], capture_output=True, text=True, timeout=120)
    rows = [json.loads(line) for line in (folder.parent / "out" / "dadfi-manifest.jsonl").read_text().splitlines()]
    one_of_each = {row["status"]: form(row) for row in sorted(rows, key=lambda row: row["source"])}
    summary = {name: form(item) for name, item in json.loads(done.stdout).items() if name != "stages"}
    present = {"exit code": done.returncode, "summary": summary, "rows": one_of_each}
    assert present == json.loads((Path(__file__).parent / "form.json").read_text())


#: Names of files, and how they are shown.
WILD_NAMES = {
    b"\x1b]0;title\x07\x1b[2J.jpg": r"\x1b]0;title\x07\x1b[2J.jpg",
    b"\xff\xfe.jpg": r"\xff\xfe.jpg",
    b"a\ndadfi-fast: error: fake.jpg": r"a\ndadfi-fast: error: fake.jpg",
}
any_name = pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes all bytes in names")


def said_of(arguments: list[str]) -> tuple[str, bytes]:
    """What the command writes in all, free of what a terminal obeys, and of that the part on stdout."""
    done = subprocess.run(arguments, capture_output=True, timeout=120)
    said = (done.stdout + done.stderr).decode("utf-8")  # or it raises
    assert not set(said) & set(map(chr, {*range(32), *range(0x7F, 0xA0)} - {10}))
    assert "\ndadfi-fast: error: fake" not in said and "Traceback" not in said
    return said, done.stdout


@any_name
@pytest.mark.parametrize("more", ["-v", "--dry-run", "--json", "--json --dry-run"])
def test_names_reach_no_terminal_as_they_are(more: str, arguments: list[str], folder: Path) -> None:
    names = [os.fsdecode(name) for name in WILD_NAMES]
    for name in names:
        (folder / name).write_bytes(b"damaged")
    said, stdout = said_of([*arguments, *more.split()])
    if "--json" in more:
        summary = json.loads(stdout)
        assert set(names) <= {row["source"] for row in summary.get("plan", summary.get("failures"))}
    else:
        assert all(shown in said for shown in WILD_NAMES.values())


@any_name
@pytest.mark.parametrize("name", WILD_NAMES)
@pytest.mark.parametrize("more", ["{}/missing", "--config={}"])
def test_names_that_are_arguments_do_not_either(more: str, name: bytes, arguments: list[str], folder: Path) -> None:
    photo = folder / os.fsdecode(name)
    photo.write_bytes(b"damaged")
    said, _ = said_of([*arguments, more.format(photo)])
    assert WILD_NAMES[name] in said or "\ufffd\ufffd.jpg" in said  # click has a way of its own


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("columns", "no_color"), [(80, ""), (200, "1")])
def test_on_a_terminal(arguments: list[str], columns: int, no_color: str) -> None:
    shown, status = on_terminal(arguments, columns, NO_COLOR=no_color)
    assert status == 0
    lines = [plain(line) for line in re.split(r"[\r\n]+", shown)]
    assert any("━" in line and "photos/s" in line for line in lines)
    assert any("3 photos, " in line for line in lines)
    assert any(line.startswith("slowest: ") and "decode" in line for line in lines)
    # with a reason, which is as long as it has to be
    lengthy = ("detector: ", "--device auto is ", "JPEG's subsampled colour")
    assert not [line for line in lines if len(line) > columns and not any(words in line for words in lengthy)]
    # stdout is a terminal, too: the head of the table is bold unless unwanted
    assert any(line.split() == ["files", "n"] for line in lines)
    assert ("\x1b[1m" in shown) == (not no_color)
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", shown) is None or not no_color


def on_terminal(arguments: list[str], columns: int, **environment: str) -> tuple[str, int]:
    """Run it on a pseudo-terminal that is so wide; what it showed, and its exit code."""
    import fcntl
    import pty
    import struct
    import termios

    pid, screen = pty.fork()
    if pid == 0:
        os.execve(sys.executable, arguments, os.environ | {"TERM": "xterm-256color"} | environment)
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown = bytearray()
    while True:
        try:
            block = os.read(screen, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not block:
            break
        shown += block
    os.close(screen)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def plain(line: str) -> str:
    """Without control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)


class TestWatch:
    """``--watch``."""

    @pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "a container's stop"])
    def test_it_goes_on_until_it_is_told_to_stop(
        self, arguments: list[str], folder: Path, smooth: Callable[[int, int], UInt8], number: int
    ) -> None:
        out = folder.parent / "out"
        running = subprocess.Popen(
            [*arguments, "--watch", "--interval", "0.1", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_for(out / "sub" / "b.jpg")
            (folder / "bad.jpg").write_bytes(b"no picture")
            Image.fromarray(smooth(50, 60)).save(folder / "new.png")
            wait_for(out / "new.png")
            before = (out / "new.png").read_bytes()
            Image.fromarray(smooth(60, 50)).save(folder / "new.tmp", "PNG")
            (folder / "new.tmp").replace(folder / "new.png")
            wait_for(out / "new.png", other_than=before)
            time.sleep(0.3)
            running.send_signal(number)
            stdout, stderr = running.communicate(timeout=60)
        finally:
            running.kill()
        summary = json.loads(stdout)
        assert (summary["written"], summary["skipped"], summary["failed"], summary["interrupted"]) == (4, 1, 1, False)
        assert running.returncode == 1  # for the one that is no picture; once, though it was looked at many times
        assert stderr.count("bad.jpg: read: ") == 1 and "press Ctrl-C to stop" in stderr
        rows = [json.loads(line)["source"] for line in (out / "dadfi-manifest.jsonl").read_text().splitlines()]
        assert sorted(rows) == ["a.png", "bad.jpg", "new.png", "note.txt", "sub/b.jpg"]
        assert not list(out.rglob("*.partial"))


def wait_for(path: Path, *, other_than: bytes = b"") -> None:
    """Until the file is there, and is another one than this."""
    for _ in range(600):
        if path.exists() and path.read_bytes() != other_than:
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} never came")


def test_files_hardly_grow(command: Command, examples: Path, tmp_path: Path) -> None:
    """With the generator that ships, on the example photos, at `--quality keep`."""
    done = command("protect", examples, "--out", tmp_path / "out", "--check", 0)
    assert done.exit_code == 0
    growth = {
        path.name: (tmp_path / "out" / path.name).stat().st_size / path.stat().st_size - 1
        for path in examples.iterdir()
    }
    assert growth["no-face.jpg"] == 0
    assert sum(growth.values()) / len(growth) <= 0.10, growth
    assert max(rate for name, rate in growth.items() if name.endswith(".jpg")) <= 0.10, growth
