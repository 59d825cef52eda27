"""The library: what `Protector` and `check` promise, and the examples in the docs."""

from __future__ import annotations

import doctest
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

import dadfi_fast
from dadfi_fast import Protector, check
from dadfi_fast.errors import BackendMissing, NothingToDo, UsageError
from dadfi_fast.protect.config import SCALES
from dadfi_fast.protect.crop import squares
from dadfi_fast.protect.results import Outcome
from dadfi_fast.types import UInt8

Command = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photos/portrait.jpg in it."""
    (tmp_path / "photos").mkdir()
    shutil.copy(examples / "portrait.jpg", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def portrait(folder: Path) -> UInt8:
    return np.asarray(Image.open(folder / "photos" / "portrait.jpg").convert("RGB"))


def test_the_examples_on_the_page(root: Path, folder: Path) -> None:
    page = (root / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "docs/python.md", None, 0)
    assert len(blocks) == 3 and len(examples.examples) == 14
    reported: list[str] = []
    failed, _ = doctest.DocTestRunner().run(examples, out=reported.append)
    assert not failed, "".join(reported)


def test_the_example_in_the_readme(root: Path, folder: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names: dict[str, Any] = {"array": portrait(folder)}
    exec(block, names)
    assert names["protected"].shape == names["array"].shape and names["summary"].written == 1
    assert "stargan-128" in names["result"].models


@pytest.mark.parametrize("strength", [0.01, 0.05, 0.1])
def test_a_face_changes_within_the_strength_and_nothing_else_does(folder: Path, strength: float) -> None:
    array = portrait(folder)
    before = array.copy()
    protected = Protector(strength=strength).image(array)
    change = np.abs(protected.pixels.astype(int) - before)
    assert 0 < protected.linf == change.max() <= int(strength * 127.5 + 0.5)
    assert np.array_equal(array, before), "the caller's array stays"
    (crop,) = squares(protected.faces)
    rows, columns, _, _ = crop.inside(*array.shape[:2])
    change[rows, columns] = 0
    assert not change.any()


def test_a_strength_may_have_a_name(folder: Path) -> None:
    named, number = (Protector(strength=strength).image(portrait(folder)) for strength in ("strong", 0.07))
    assert np.array_equal(named.pixels, number.pixels) and named.strength == number.strength == 0.07


def test_a_strength_of_auto_is_one_of_the_scales(folder: Path) -> None:
    array = portrait(folder)
    protected = Protector(strength="auto").image(array)
    assert protected.strength in SCALES and protected.linf <= int(protected.strength * 127.5 + 0.5)
    same = Protector(strength=protected.strength).image(array)
    assert np.array_equal(same.pixels, protected.pixels) and same.strength == protected.strength


def test_auto_is_that_of_the_command_by_one_process_and_by_two(folder: Path, command: Command) -> None:
    shutil.copy(folder / "photos" / "portrait.jpg", folder / "photos" / "again.jpg")
    summary = Protector(strength="auto", device="cpu").files("photos", "by-library")
    assert (summary.written, summary.faces) == (2, 2)
    for out, more in (("by-one", ()), ("by-two", ("--processes", 2))):
        result = command("protect", "photos", "--out", out, "--strength", "auto", "--check", 0, *more)
        assert result.exit_code == 0 and "strength chosen by stargan-128" in result.stderr
        files = [(folder / name / "portrait.jpg").read_bytes() for name in ("by-library", out)]
        assert files[0] == files[1]
        again = command("protect", "photos", "--out", out, "--strength", "auto", "--check", 0)
        assert "done earlier" in again.stdout and "protected" not in again.stdout


def test_a_picture_without_a_face_comes_back_unchanged(smooth: Callable[[int, int], UInt8]) -> None:
    protected = Protector().image(array := smooth(64, 96))
    assert np.array_equal(protected.pixels, array) and protected.faces == () and protected.linf == 0


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8), np.uint8),  # greyscale
        np.zeros((8, 8, 4), np.uint8),  # with alpha
        np.zeros((8, 8, 3), np.float32),
        np.zeros((2, 8, 8, 3), np.uint8),  # a batch
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_what_is_no_picture_is_refused(array: UInt8) -> None:
    with pytest.raises(UsageError, match=r"Pass uint8 \[H, W, 3\], RGB"):
        Protector(detector="none").image(array)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"strength": 0.2}, UsageError, "strength .* is out of range"),
        ({"strength": float("nan")}, UsageError, "strength .* is out of range"),
        ({"generator": "generator-x"}, UsageError, "generator-s"),
        ({"backend": "openvno"}, UsageError, "did you mean 'openvino'"),
        ({"detector": "yunet"}, BackendMissing, "detector yunet cannot run"),
    ],
)
def test_what_cannot_be_is_said(folder: Path, arguments: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        Protector(**arguments).image(portrait(folder))


def test_files_are_those_of_the_command(folder: Path, command: Command) -> None:
    outcomes: list[Outcome] = []
    protector = Protector(strength=0.03, device="cpu")
    summary = protector.files(Path("photos"), "by-library", strip_gps=True, on_outcome=outcomes.append)
    same = ("--strength", 0.03, "--strip-gps", "--check", 0)
    assert command("protect", "photos", "--out", "by-command", *same).exit_code == 0
    one, other = (folder / name / "portrait.jpg" for name in ("by-library", "by-command"))
    assert one.read_bytes() == other.read_bytes()
    assert (summary.written, summary.faces, len(outcomes)) == (1, 1, 1)
    assert protector.files(["photos"], "by-library", strip_gps=True).done == 1, "it resumes"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"no_face": "keep"}, UsageError, "--no-face"),
        ({"decoder": "gpu"}, UsageError, "--decoder"),
        ({"no_fcae": "copy"}, TypeError, "no_fcae"),
    ],
)
def test_options_that_cannot_be_are_refused(folder: Path, options: dict[str, str], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        Protector().files(["photos"], "out", **options)
    assert not (folder / "out").exists()


def test_nothing_to_check() -> None:
    with pytest.raises(NothingToDo):
        check([])


def test_the_package_offers_what_it_names() -> None:
    assert {name for name in dadfi_fast.__all__ if callable(getattr(dadfi_fast, name))} == {"Protector", "check"}
    with pytest.raises(AttributeError, match="no_such"):
        _ = dadfi_fast.no_such
