"""``--report`` of the commands ``check`` and ``protect``."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from dadfi_fast.deepfakes import registry
from dadfi_fast.types import UInt8

EVIL = "<img src=x onerror=alert(1)>.png" if sys.platform != "win32" else "'&amp;.png"
CHECKER = (6 * (1 - 2 * (np.indices((40, 40)).sum(axis=0) % 2)))[..., None]

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def toys(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = registry.deepfake_cards(toy_weights)
    for name in ("load_models", "load_attributes"):
        monkeypatch.setattr(registry, name, functools.partial(getattr(registry, name), folder=toy_weights, threads=1))
    monkeypatch.setattr(registry, "deepfake_cards", lambda folder=None: cards)


@pytest.fixture
def check(command: Command, tmp_path: Path) -> Command:
    """``check`` on two files, the first of them called `EVIL`."""
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    for name in (EVIL, "b.png"):
        pixels = np.full((40, 40, 3), 50, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / name)
        Image.fromarray((pixels + CHECKER).astype(np.uint8)).save(tmp_path / "out" / name)

    def run(*arguments: object) -> Result:
        fixed = (tmp_path / "out", "--original", tmp_path / "in", "--detector", "none", "--models", "fragile")
        return command("check", *fixed, *arguments)

    return run


def test_check_writes_the_page(check: Command, tmp_path: Path) -> None:
    plain = check("--json")
    path = tmp_path / "new" / "page.html"
    result = check("--json", "--report", path)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads(plain.stdout)  # looking on changes no figure
    assert f"report: {path} (0." in result.stderr
    text = path.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "fragile: every fake broken in 2 of 2 photos" in text
    assert "sturdy: stargan" in text  # it is there and was not run


def test_quiet_holds_for_the_page_too(check: Command, tmp_path: Path) -> None:
    assert check("--quiet", "--report", tmp_path / "page.html").stderr == ""
    assert (tmp_path / "page.html").is_file()


def test_a_page_is_written_before_the_check_fails(check: Command, tmp_path: Path) -> None:
    (tmp_path / "out" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (tmp_path / "out" / "dadfi-manifest.jsonl").write_text(
        "".join(json.dumps({"source": n, "target": n, "status": "written"}) + "\n" for n in (EVIL, "b.png"))
    )
    result = check("--report", tmp_path / "page.html")
    assert result.exit_code == 1
    assert "Files that could not be compared (1)" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_photo_is_no_place_for_a_page(check: Command, tmp_path: Path) -> None:
    photo = tmp_path / "in" / "b.png"
    before = photo.read_bytes()
    result = check("--report", photo)
    assert (result.exit_code, result.stdout, photo.read_bytes()) == (2, "", before)
    assert "does not end with .html" in result.stderr


@pytest.fixture
def protect(command: Command, tmp_path: Path, smooth: Callable[[int, int], UInt8]) -> Command:
    """``protect`` on a picture in each of two folders, both of the same name, and a text."""
    for folder in ("one", "two"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        Image.fromarray(smooth(60, 80)).save(tmp_path / "in" / folder / "a.png")
    (tmp_path / "in" / "note.jpg").write_text("not an image")

    def run(*arguments: object) -> Result:
        return command("protect", tmp_path / "in", "--out", tmp_path / "out", "--detector", "none", *arguments)

    return run


def test_protect_writes_the_page(protect: Command, tmp_path: Path) -> None:
    protect("--report", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<bdi>one/a.png</bdi>" in text
    assert "<bdi>two/a.png</bdi>" in text
    assert "<bdi>note.jpg</bdi>: " in text  # not protected, and said so
    assert "protected with" in text
    assert "looks like JPEG of quality" in text  # whoever asks for a page wants to know how visible the change is


def test_protect_without_a_check_has_nothing_to_report(protect: Command, tmp_path: Path) -> None:
    result = protect("--report", tmp_path / "page.html", "--check", "0")
    assert result.exit_code == 2
    assert "Remove --check 0" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_no_page(protect: Command, tmp_path: Path) -> None:
    protect("--report", tmp_path / "new" / "page.html", "--dry-run")
    assert not (tmp_path / "new").exists()
