"""A manifest that anybody may have changed: no traceback, nothing lost, nothing opened or overwritten outside."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.check.manifest_summary import read_manifest_summary
from dadfi_fast.check.pairs import find_pairs
from dadfi_fast.errors import NothingToDo, UsageError
from dadfi_fast.protect.distributed.manifest_shards import FOLDER
from dadfi_fast.protect.manifest import NAME, SET_ASIDE, Facts, Manifest
from tests.protect.conftest import Run

#: Changes to a row of ours that make it another's; ``...`` leaves the field out.
CHANGES: dict[str, dict[str, Any]] = {
    "no target": {"target": ...},
    "no status": {"status": ...},
    "no config": {"config": ...},
    "no generator": {"generator": ...},
    "no hash": {"sha256_target": ...},
    "no hash of the source": {"sha256_source": ...},
    "no stat": {"stat": ...},
    "no reason": {"reason": ...},
    "no faces": {"faces": ...},
    "unknown status": {"status": "done"},
    "status a list": {"status": ["written"]},
    "source a number": {"source": 5},
    "source a list": {"source": ["a.jpg"]},
    "source empty": {"source": ""},
    "source with a zero byte": {"source": "a\0.jpg"},
    "source with half a surrogate": {"source": "\ud800.jpg"},
    "written without target": {"target": None},
    "written without hash": {"sha256_target": None},
    "target a number": {"target": 7},
    "target a list": {"target": ["a.jpg"]},
    "target empty": {"target": ""},
    "target absolute": {"target": "/etc/hostname"},
    "target above": {"target": "../in/a.jpg"},
    "target above, later": {"target": "sub/../../in/a.jpg"},
    "target the folder": {"target": "."},
    "target with a zero byte": {"target": "a\0.jpg"},
    "target too long": {"target": "a" * 300 + ".jpg"},
    "path too long": {"target": "a/" * 3000 + "a.jpg"},
    "hash a number": {"sha256_target": 5},
    "stat a number": {"stat": 5},
    "stat too short": {"stat": [1]},
    "stat of texts": {"stat": ["1", "2"]},
    "faces a number": {"faces": 5},
    "faces of numbers": {"faces": [1, 2]},
    "faces of four": {"faces": [[1, 2, 3, 4]]},
    "faces of texts": {"faces": [["1", "2", "3", "4", "5"]]},
    "written a list": {"written": [1]},
    "written with texts": {"written": {"linf": "6"}},
    "failed without error": {"status": "failed"},
    "failed with a text": {"status": "failed", "error": "broken"},
    "failed without words": {"status": "failed", "error": {"hop": "read"}},
    "skipped without reason": {"status": "skipped", "reason": None},
    "reason a number": {"status": "skipped", "reason": 5},
    "config a list": {"config": []},
    "linf not finite": {"linf": float("nan")},
}
#: Lines that are no rows at all, behind one that is.
LINES = {
    "null": b"null",
    "a number": b"5",
    "a list": b"[]",
    "nested": b"[" * 100_000,
    "nested objects": b'{"source":' * 100_000,
    "a number of a million digits": b'{"source": ' + b"1" * 1_000_000 + b"}",
    "no JSON": b"hello",
    "no text": b"\xff\xfe\x00",
    "long": b"x" * (17 << 20),
}


FACTS = Facts("config", "generator", "toy")
ROW = {"source": "b.jpg", "target": "b.jpg", "status": "written", "faces": [], "linf": 6, "written": None,
       "sha256_source": "0", "sha256_target": "0", "seconds": 0.1, "error": None, "config": "c", "generator": "g",
       "backend": "toy", "reason": None, "stat": [1, 2]}  # fmt: skip


def put(folder: Path, *names: str) -> list[bytes]:
    """Files, and the lines of a manifest that speak of them."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    return [json.dumps(ROW | {"source": n, "target": n, "sha256_target": digest}).encode() + b"\n" for n in names]


def changed(change: dict[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in (ROW | change).items() if value is not ...}).encode() + b"\n"


def is_set_aside_once(line: bytes, out: Path) -> None:
    """Rows around the line are kept, it is kept elsewhere, and it is spoken of once."""
    first, last = put(out, "a.jpg", "c.jpg")
    (out / NAME).write_bytes(first + line + last)
    with closing(Manifest(out, FACTS)) as manifest:
        assert manifest.find("a.jpg") and manifest.find("c.jpg") and manifest.find("b.jpg") is None
        assert manifest.note is not None and str(out / SET_ASIDE) in manifest.note
    assert (out / NAME).read_bytes() == first + last and (out / SET_ASIDE).read_bytes() == line
    with closing(Manifest(out, FACTS)) as manifest:
        assert manifest.find("a.jpg") and manifest.note is None


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_row_that_is_not_ours_is_set_aside(change: dict[str, Any], tmp_path: Path) -> None:
    is_set_aside_once(changed(change), tmp_path)


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_that_is_no_row_is_set_aside(line: bytes, tmp_path: Path) -> None:
    is_set_aside_once(line + b"\n", tmp_path)


def test_a_run_does_again_what_was_set_aside(photos: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    photos(dict.fromkeys(("a.jpg", "b.jpg", "c.jpg")))
    run()
    manifest = tmp_path / "out" / NAME
    first, _, last = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(first + changed({"target": "../in/a.jpg"}) + last)
    (tmp_path / "out" / "b.jpg").unlink()
    summary, _ = run()
    assert (summary.written, summary.done, len(summary.notes)) == (1, 2, 1)
    summary, _ = run()
    assert (summary.done, summary.notes) == (3, [])


@pytest.mark.parametrize(
    "content",
    [b"hello\n", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"a\tb\n1\t2\n", b"[1, 2]\n"],
    ids=["text", "picture", "table", "list"],
)
def test_a_foreign_file_of_its_name_is_left_alone(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(UsageError, match="was not written by dadfi-fast"):
        Manifest(tmp_path, FACTS)
    assert (tmp_path / NAME).read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b'{"source": "a.jp', b'{"sou'], ids=["none", "zeros", "row", "start"]
)
def test_what_a_power_cut_leaves_is_mended(
    content: bytes, photos: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    photos({"a.jpg": None})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NAME).write_bytes(content)
    summary, rows = run()
    assert rows["a.jpg"]["status"] == "written" and not summary.notes


@pytest.mark.skipif(sys.platform == "win32", reason="neither links nor pipes")
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
@pytest.mark.parametrize("name", [NAME, f"{FOLDER}/1.jsonl", ".dadfi-dadfi-manifest.open"])
def test_what_is_not_a_file_is_refused(
    kind: str, name: str, photos: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    photos({"a.jpg": None})
    precious, path = tmp_path / "precious", tmp_path / "out" / name
    precious.write_bytes(b"precious")
    path.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(precious if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(UsageError):
        run()
    assert precious.read_bytes() == b"precious" and not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes")
@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_a_target_that_is_not_a_file_is_not_opened(
    kind: str, photos: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    photos({"a.jpg": None})
    run()
    target = tmp_path / "out" / "a.jpg"
    target.rename(tmp_path / "elsewhere")
    if kind == "link":
        target.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(target) if kind == "pipe" else target.mkdir()
    with closing(Manifest(tmp_path / "out", Facts("", "", ""))) as manifest:
        assert manifest.find("a.jpg") is None


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_check_reads_them_too(change: dict[str, Any], tmp_path: Path) -> None:
    lines = put(tmp_path / "out", "a.jpg", "b.jpg")
    put(tmp_path / "in", "a.jpg", "b.jpg")
    (tmp_path / "out" / NAME).write_bytes(lines[0] + changed(change))
    pairs = find_pairs(tmp_path / "out", tmp_path / "in")
    assert "a.jpg" in [pair.name for pair in pairs]
    read_manifest_summary(tmp_path / "out")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right of their own")
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("../secret.jpg", "a.jpg"),
        ("{top}/secret.jpg", "a.jpg"),
        ("a.jpg", "../secret.jpg"),
        ("a.jpg", "{top}/secret.jpg"),
        ("a.jpg", "link.jpg"),
        ("a.jpg", "linked/secret.jpg"),
        ("a.jpg", "pipe.jpg"),
    ],
)
def test_check_opens_nothing_outside(source: str, target: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(tmp_path / "in", "a.jpg")
    put(out, "a.jpg")
    put(tmp_path, "secret.jpg")
    (out / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (out / "linked").symlink_to(tmp_path)
    os.mkfifo(out / "pipe.jpg")
    (out / NAME).write_bytes(changed({"source": source.format(top=tmp_path), "target": target.format(top=tmp_path)}))
    with pytest.raises(NothingToDo):
        find_pairs(out, tmp_path / "in")
