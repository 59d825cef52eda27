"""Writing: whole or not at all, and the right error for the disk and for the photo."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import DiskError, PhotoError
from dadfi_fast.storage.disk import OutFolder


def names(folder: Path) -> list[str]:
    """All files, relative."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_appears_only_when_it_is_committed(tmp_path: Path) -> None:
    out = OutFolder(tmp_path / "new" / "out")
    staged = out.stage("a/b.jpg", b"whole")
    assert staged.parent == tmp_path / "new" / "out" / "a" and staged.read_bytes() == b"whole"
    assert not (out.path / "a/b.jpg").exists()
    out.commit(staged, "a/b.jpg")
    assert names(out.path) == ["a/b.jpg"] and (out.path / "a/b.jpg").read_bytes() == b"whole"


def test_what_was_not_committed_goes_at_the_end(tmp_path: Path) -> None:
    out = OutFolder(tmp_path)
    out.commit(out.stage("a.jpg", b"1"), "a.jpg")
    out.stage("b.jpg", b"2")
    out.close()
    assert names(tmp_path) == ["a.jpg"]


def test_what_killed_runs_left_is_removed(tmp_path: Path) -> None:
    for name in ("sub/.dadfi-7-0.partial", ".dadfi-7-1.partial", "kept.partial", ".dadfi-note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    OutFolder(tmp_path).remove_stale()
    assert names(tmp_path) == [".dadfi-note.txt", "kept.partial"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "input/output error"),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_errors_of_the_disk_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, words: str
) -> None:
    out = OutFolder(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(DiskError, match=words):
        out.commit(out.stage("a.jpg", b"x"), "a.jpg")


def test_a_write_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))
    assert OutFolder(tmp_path).stage("a.jpg", b"0123456789").read_bytes() == b"0123456789"


@pytest.mark.parametrize("target", ["x" * 300 + ".jpg", "file/below.jpg"])
def test_a_name_that_the_system_does_not_take_is_one_photos_fault(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    out = OutFolder(tmp_path)
    with pytest.raises(PhotoError):
        out.commit(out.stage(target, b"x"), target)


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(DiskError, match="a part of the path is a file"):
            OutFolder(path)


def test_a_result_has_the_time_and_permissions_of_its_source(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    source.write_bytes(b"x")
    source.chmod(0o640)
    os.utime(source, ns=(1_500_000_000_000_000_000, 1_600_000_000_123_456_700))
    out = OutFolder(tmp_path / "out")
    for name, like in (("a.jpg", source), ("b.jpg", None), ("c.jpg", tmp_path / "gone.jpg")):
        out.commit(out.stage(name, b"y", like=like), name)
    made = (tmp_path / "out" / "a.jpg").stat()
    assert abs(made.st_mtime_ns - 1_600_000_000_123_456_700) < 1000
    assert sys.platform == "win32" or made.st_mode & 0o777 == 0o640
    assert (tmp_path / "out" / "b.jpg").stat().st_mtime_ns > made.st_mtime_ns
