"""The manifest: rows before renames, torn ends mended, replaced rows gone, one run at a time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import DiskError, UsageError
from dadfi_fast.metrics.visibility import FaceAppearance
from dadfi_fast.protect.manifest import NAME, Facts, Manifest, outcome_of, row_of
from dadfi_fast.protect.results import Copied, Entry, Failed, Quality, Skipped, Written
from dadfi_fast.types import Face

FACTS = Facts("config", "generator", "toy: because")


def entry(name: str = "a/b.jpg") -> Entry:
    """An input."""
    return Entry(Path(name), name, name, 7, 9)


def written(out: Path, name: str, content: bytes = b"x") -> dict[str, Any]:
    """A row whose file is there."""
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return row_of(Written(entry(name), name, (), 6, "s", hashlib.sha256(content).hexdigest()), FACTS)


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    """An empty one."""
    with closing(Manifest(tmp_path, FACTS)) as store:
        yield store


def lines(out: Path) -> list[Any]:
    """The rows on disk."""
    return [json.loads(line) for line in (out / NAME).read_text().splitlines()]


KEYS = ["source", "target", "status", "faces", "linf", "written", "sha256_source", "sha256_target", "seconds", "error"]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (
            Written(
                entry(), "a/b.jpg", (Face(1.04, 2, 3, 4, 0.98765),), 6, "s", "t",
                Quality(7, 41.2, FaceAppearance(74, 78.3, 0.034)),
            ),
            {"status": "written", "target": "a/b.jpg", "faces": [[1.0, 2, 3, 4, 0.988]], "linf": 6,
             "written": {"linf": 7, "psnr": 41.2, "jpeg_equivalent": 74, "ssimulacra2": 78.3, "flip": 0.034},
             "sha256_source": "s", "sha256_target": "t", "strength": None},
        ),
        (
            Written(entry(), "a/b.jpg", (), 5, "s", "t", strength=0.04),
            {"status": "written", "linf": 5, "strength": 0.04},
        ),
        (
            Copied(entry(), "a/b.jpg", "no face found", "s", "s"),
            {"status": "copied", "target": "a/b.jpg", "faces": [], "linf": 0, "reason": "no face found"},
        ),
        (
            Skipped(entry(), "not an image"),
            {"status": "skipped", "target": None, "linf": None, "reason": "not an image"},
        ),
        (
            Failed(entry(), "decode", ValueError("broken")),
            {"status": "failed", "target": None, "error": {"hop": "decode", "type": "ValueError", "message": "broken"}},
        ),
        (
            Failed(entry(), "read", MemoryError()),
            {"error": {"hop": "read", "type": "MemoryError", "message": "MemoryError"}},
        ),
    ],
)  # fmt: skip
def test_rows(outcome: Any, expected: dict[str, Any]) -> None:
    row = row_of(outcome, FACTS)
    assert list(row)[: len(KEYS)] == KEYS
    assert (row["config"], row["generator"], row["backend"]) == ("config", "generator", "toy: because")
    assert {key: row[key] for key in expected} == expected
    assert row["source"] == "a/b.jpg" and row["stat"] == [7, 9]
    if isinstance(outcome, Written):
        result = outcome_of(row, entry())
        assert isinstance(result, Written) and result.measured == outcome.measured


def test_rows_are_found_again(tmp_path: Path) -> None:
    with closing(Manifest(tmp_path, FACTS)) as first:
        for n in range(50):
            first.append(written(tmp_path, f"{n}.jpg"))
        assert first.find("3.jpg") is None  # of this run: nobody asks twice
    with closing(Manifest(tmp_path, FACTS)) as second:
        assert second.find("31.jpg") == lines(tmp_path)[31]
        assert second.find("50.jpg") is None


def test_finding_and_appending_take_turns(tmp_path: Path) -> None:
    with closing(Manifest(tmp_path, FACTS)) as first:
        for n in range(100):
            first.append(row_of(Skipped(entry(f"{n}.jpg"), "not an image"), FACTS))
    with closing(Manifest(tmp_path, FACTS)) as second:
        for n in range(100):
            assert (second.find(f"{n}.jpg") or {})["source"] == f"{n}.jpg"
            second.append(row_of(Skipped(entry(f"x{n}.jpg"), "not an image"), FACTS))
    assert len(lines(tmp_path)) == 200


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\xe9-\xf0\x9f\x98\x80.jpg")
    with closing(Manifest(tmp_path, FACTS)) as first:
        first.append(row_of(Skipped(entry(name), "not an image"), FACTS))
    with closing(Manifest(tmp_path, FACTS)) as second:
        row = second.find(name)
    assert row is not None and row["source"] == name


@pytest.mark.parametrize("torn", [b'{"source": "b.jpg", "sta', b"\0\0\0\0", b"\n", b'{"source": 3}\n'])
def test_a_torn_end_is_mended(tmp_path: Path, torn: bytes) -> None:
    with closing(Manifest(tmp_path, FACTS)) as first:
        first.append(written(tmp_path, "a.jpg"))
    with (tmp_path / NAME).open("ab") as file:
        file.write(torn)
    with closing(Manifest(tmp_path, FACTS)) as second:
        assert second.find("a.jpg") is not None
        second.append(written(tmp_path, "b.jpg"))
    assert [row["source"] for row in lines(tmp_path)] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("content", [None, b"an older file"], ids=["missing", "other"])
def test_a_last_row_without_its_file_is_taken_out(tmp_path: Path, content: bytes | None) -> None:
    with closing(Manifest(tmp_path, FACTS)) as first:
        first.append(written(tmp_path, "a.jpg"))
        first.append(written(tmp_path, "b.jpg"))
    (tmp_path / "b.jpg").unlink()
    if content is not None:
        (tmp_path / "b.jpg").write_bytes(content)
    with closing(Manifest(tmp_path, FACTS)) as second:
        assert second.find("b.jpg") is None and second.find("a.jpg") is not None
    assert [row["source"] for row in lines(tmp_path)] == ["a.jpg"]


def test_replaced_rows_go_at_the_end(tmp_path: Path) -> None:
    with closing(Manifest(tmp_path, FACTS)) as first:
        for name in ("a.jpg", "b.jpg"):
            first.append(row_of(Failed(entry(name), "read", OSError("gone")), FACTS))
    with closing(Manifest(tmp_path, FACTS)) as second:
        second.append(written(tmp_path, "a.jpg"), again=True)
    assert [(row["source"], row["status"]) for row in lines(tmp_path)] == [("b.jpg", "failed"), ("a.jpg", "written")]


def test_rows_that_a_killed_run_replaced_go_too(tmp_path: Path) -> None:
    rows = [row_of(Failed(entry("a.jpg"), "read", OSError("gone")), FACTS), written(tmp_path, "a.jpg")]
    (tmp_path / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    Manifest(tmp_path, FACTS).close()
    assert [row["status"] for row in lines(tmp_path)] == ["written"]


def test_a_full_disk_leaves_whole_rows(tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest.append(written(tmp_path, "a.jpg"))
    write = os.write
    with monkeypatch.context() as patch, pytest.raises(DiskError, match="full"):
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))
        manifest.append(written(tmp_path, "b.jpg"))
    assert [row["source"] for row in lines(tmp_path)] == ["a.jpg"]
    manifest.append(written(tmp_path, "c.jpg"))
    assert [row["source"] for row in lines(tmp_path)] == ["a.jpg", "c.jpg"]


def test_a_row_can_be_taken_back(tmp_path: Path, manifest: Manifest) -> None:
    manifest.append(written(tmp_path, "a.jpg"))
    row = written(tmp_path, "b.jpg")
    manifest.append(row)
    manifest.undo_last(row)
    assert [row["source"] for row in lines(tmp_path)] == ["a.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="Windows locks otherwise")
def test_one_run_at_a_time(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="another run is writing"):
        Manifest(tmp_path, FACTS)


def test_looking_changes_nothing(tmp_path: Path) -> None:
    with closing(Manifest(tmp_path / "nowhere", FACTS, read_only=True)) as none:
        assert none.find("a.jpg") is None
    assert not (tmp_path / "nowhere").exists()
    row = row_of(Failed(entry("a.jpg"), "read", OSError("gone")), FACTS)
    (tmp_path / NAME).write_text(json.dumps(row) + '\n{"torn')
    with closing(Manifest(tmp_path, FACTS, read_only=True)) as reader:
        assert reader.find("a.jpg") == row
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes().endswith(b'{"torn')


def test_rows_of_the_same_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dadfi_fast.protect.manifest._key", lambda _: 5)
    for _ in range(2):
        with closing(Manifest(tmp_path, FACTS)) as manifest:
            for name in ("a.jpg", "b.jpg"):
                if manifest.find(name) is None:
                    manifest.append(written(tmp_path, name))
            assert manifest.find("c.jpg") is None
    assert [row["source"] for row in lines(tmp_path)] == ["a.jpg", "b.jpg"]
