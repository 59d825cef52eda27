"""Runs that die at a photo: it is named, worked on alone, and fails after the third death; the others go through."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import DiskError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.dry_run import dry_run
from dadfi_fast.protect.job import PhotoJob
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.results import Done, Entry
from dadfi_fast.protect.under_way import DEATHS, MOST, NAME, UnderWay
from dadfi_fast.types import Face, UInt8
from tests.protect.conftest import Boxes, Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

PHOTOS = [f"{letter}.jpg" for letter in "abcdefgh"]
#: A run that dies as soon as it sees a photo that is one pixel wider than the others.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.protect.conftest import MIDDLE, Boxes, Stripes
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.pipeline import protect
from dadfi_fast.types import Budget

class Deadly(Boxes):
    def find(self, pixels):
        if pixels.shape[1] == 97:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().find(pixels)

config = ProtectConfig(
    sources=(sys.argv[1],), out=Path(sys.argv[2]), detector="boxes", workers=4, again="again" in sys.argv
)
summary = protect(
    config, detector=Deadly(*MIDDLE.boxes), attack=Stripes(Budget(config.generated)),
    facts=Facts(config.fingerprint, "toy", "toy"), say=print,
)
print(summary.to_dict())
"""


@pytest.fixture
def start(photos: Callable[..., Path], tmp_path: Path, encoded: Callable[..., bytes]) -> Callable[..., Any]:
    """Starts a run over ``PHOTOS``, of which e.jpg is deadly."""
    source = photos(dict.fromkeys(PHOTOS))
    (source / "e.jpg").write_bytes(encoded(size=(48, 97)))

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", SCRIPT, str(source), str(tmp_path / "out"), *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return run


def statuses(out: Path) -> dict[str, str]:
    rows = map(json.loads, (out / "dadfi-manifest.jsonl").read_text().splitlines())
    return {row["source"]: row["status"] for row in rows}


def test_a_deadly_photo_fails_after_three_deaths(start: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert start().returncode == -signal.SIGKILL
    for n in range(1, MOST):
        died = start()
        assert died.returncode == -signal.SIGKILL
        assert f"e.jpg (run {n} of {MOST})" in died.stdout
        assert n == 1 or "a.jpg" not in died.stdout  # alone
    for _ in range(2):  # it stays as it is
        last = start()
        assert last.returncode == 0, last.stderr
        assert statuses(out) == dict.fromkeys(PHOTOS, "written") | {"e.jpg": "failed"}
        assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == [DEATHS]
    row = next(r for r in map(json.loads, (out / "dadfi-manifest.jsonl").read_text().splitlines()) if r["error"])
    assert row["error"]["hop"] == "detect" and row["error"]["type"] == "DeadlyPhoto"
    assert "3 runs were killed" in row["error"]["message"] and "--again" in row["error"]["message"]
    again = start("again")
    assert again.returncode == -signal.SIGKILL
    assert start().returncode == 0 and statuses(out)["e.jpg"] == "failed"


def test_a_photo_that_has_changed_is_tried(start: Callable[..., Any], tmp_path: Path, encoded: Any) -> None:
    for _ in range(MOST):
        assert start().returncode == -signal.SIGKILL
    (tmp_path / "in" / "e.jpg").write_bytes(encoded(size=(48, 98)))
    last = start()
    assert last.returncode == 0, last.stderr
    assert statuses(tmp_path / "out") == dict.fromkeys(PHOTOS, "written")
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_again_tries_it(photos: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    photo = photos({"a.jpg": None, "b.jpg": None}) / "a.jpg"
    stat = [photo.stat().st_size, photo.stat().st_mtime_ns]
    (tmp_path / "out").mkdir()
    deaths = {"a.jpg": {"n": MOST, "stage": "decode", "stat": stat}}
    (tmp_path / "out" / DEATHS).write_text(json.dumps(deaths))
    _, rows = run()
    assert (rows["a.jpg"]["status"], rows["b.jpg"]["status"]) == ("failed", "written")
    _, rows = run(again=True)
    assert rows["a.jpg"]["status"] == "written" and not (tmp_path / "out" / DEATHS).exists()
    _, rows = run()
    assert rows["a.jpg"]["status"] == "written"


@pytest.mark.parametrize("again", [False, True])
def test_a_dry_run_says_so_and_notes_nothing(again: bool, photos: Callable[..., Path], tmp_path: Path) -> None:
    stat = (photos({"a.jpg": None, "b.jpg": None}) / "a.jpg").stat()
    out = tmp_path / "out"
    out.mkdir()
    deaths = {"a.jpg": {"n": MOST - 1, "stage": "decode", "stat": [stat.st_size, stat.st_mtime_ns]}}
    (out / DEATHS).write_text(json.dumps(deaths))
    (out / NAME).write_text(json.dumps(["a.jpg", "crop", stat.st_size, stat.st_mtime_ns]) + "\n")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    config = ProtectConfig(sources=(str(tmp_path / "in"),), out=out, again=again)
    plan = {row["source"]: row for row in dry_run(config, Facts(config.fingerprint, "toy", "toy"))}
    assert plan["b.jpg"]["action"] == "protect"
    assert plan["a.jpg"]["action"] == ("protect" if again else "fail")
    assert again or "3 runs were killed" in str(plan["a.jpg"]["reason"])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def entry(name: str, size: int = 1) -> Entry:
    return Entry(Path("in") / name, name, name, size, 1)


def test_what_is_under_way_is_noted_and_no_longer(tmp_path: Path) -> None:
    notes = UnderWay(tmp_path)
    deaths: list[tuple[str, ...]] = []

    def look(_: PhotoJob) -> None:
        copy = tmp_path / "copy"
        copy.mkdir(exist_ok=True)
        (copy / NAME).write_bytes((tmp_path / NAME).read_bytes())
        deaths.append(UnderWay(copy).died_at)

    odd = "写\udcff\n.jpg"
    notes.during("decode", lambda job: notes.during("crop", look)(PhotoJob(entry("b.jpg"))))(PhotoJob(entry(odd)))
    notes.during("decode", look)(PhotoJob(entry("c.jpg")))
    with pytest.raises(ZeroDivisionError):
        notes.during("decode", lambda _: 1 // 0)(PhotoJob(entry("d.jpg")))  # type: ignore[arg-type, return-value]
    notes.during("decode", look)(PhotoJob(entry("x" * 20_000)))  # too long for a slot
    assert deaths == [("b.jpg", odd), ("c.jpg",), ()]
    notes.close()
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_suspects_are_alone_and_the_order_stays(tmp_path: Path) -> None:
    deaths = {name: {"n": 1, "stage": "read", "stat": [1, 1]} for name in ("c", "d", "f")}
    (tmp_path / DEATHS).write_text(json.dumps(deaths))
    notes = UnderWay(tmp_path)
    items = [entry("a"), Done(entry("b"), "written", "b"), entry("c"), entry("d"), entry("e"), entry("f", size=2)]
    groups = [
        [getattr(item, "name", None) or item.entry.name for item in group]  # type: ignore[union-attr]
        for group in notes.apart(notes.judge(items))
    ]
    assert groups == [["a", "b"], ["c"], ["d"], ["e", "f"]]  # f has changed


@pytest.mark.parametrize("name", [NAME, DEATHS])
@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 99, b"[" * 99_999, b'{"a.jpg": 3}', b'["a.jpg", 1, "x", null]', b"null"]
)
def test_damaged_notes_are_ignored(
    name: str, content: bytes, photos: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    photos({"a.jpg": None})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(content)
    _, rows = run()
    assert rows["a.jpg"]["status"] == "written"


@pytest.mark.parametrize("name", [NAME, DEATHS])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_of_ours_is_not_followed(
    name: str, kind: str, photos: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    photos({"a.jpg": None})
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.write_text("precious")
    if kind == "link":
        (out / name).symlink_to(other)
    elif kind == "pipe":
        os.mkfifo(out / name)
    else:
        (out / name).mkdir()
    _, rows = run()
    assert rows["a.jpg"]["status"] == "written" and other.read_text() == "precious"


def test_a_run_that_ends_with_an_error_has_not_died(photos: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    photos({"a.jpg": b"\xff\xd8damaged", "b.jpg": None})

    class Full(Boxes):
        def find(self, pixels: UInt8) -> list[Face]:
            raise DiskError("the disk is full")

    with pytest.raises(DiskError):
        run(detector=Full())
    assert not {NAME, DEATHS} & {path.name for path in (tmp_path / "out").iterdir()}
    summary, _ = run()
    assert (summary.failed, summary.written) == (1, 1)
