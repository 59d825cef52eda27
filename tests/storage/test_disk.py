"""Writing: whole or not at all, and the right error for the disk and for the photo."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import DiskError, PhotoError
from dadfi_fast.storage.disk import OutFolder, folds_case


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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
@pytest.mark.parametrize(("mine", "other"), [(".", "sub"), ("sub", "."), (".", "."), ("sub", "sub/deep")])
def test_files_of_a_run_that_goes_on_are_left_alone(tmp_path: Path, mine: str, other: str) -> None:
    (tmp_path / mine).mkdir(exist_ok=True)
    running = OutFolder(tmp_path / other)
    staged = running.stage("sub/deep/a.jpg", b"new")
    (tmp_path / mine / ".dadfi-7-1.partial").write_bytes(b"of a run that was killed")
    OutFolder(tmp_path / mine).remove_stale()
    running.commit(staged, "sub/deep/a.jpg")
    assert (running.path / "sub/deep/a.jpg").read_bytes() == b"new"
    assert names(tmp_path / mine) == [path for path in names(tmp_path / mine) if path.endswith("a.jpg")]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_no_file_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    out = OutFolder(tmp_path)
    out.commit(out.stage("a.jpg", b"1"), "a.jpg")
    out.discard(out.stage("b.jpg", b"2"))
    out.stage("c.jpg", b"3")
    out.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_result_has_the_time_and_permissions_of_its_source(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    source.write_bytes(b"x")
    source.chmod(0o640)
    os.utime(source, ns=(1_500_000_000_000_000_000, 1_600_000_000_123_456_700))
    out = OutFolder(tmp_path / "out")
    for name, like in (("a.jpg", source), ("b.jpg", None), ("c.jpg", tmp_path / "gone.jpg")):
        out.commit(out.stage(name, b"y", like=like), name)
    status = (tmp_path / "out" / "a.jpg").stat()
    assert abs(status.st_mtime_ns - 1_600_000_000_123_456_700) < 1000
    assert sys.platform == "win32" or status.st_mode & 0o777 == 0o640
    assert (tmp_path / "out" / "b.jpg").stat().st_mtime_ns > status.st_mtime_ns


def test_the_file_system_is_asked_whether_it_folds_case(tmp_path: Path) -> None:
    (tmp_path / "Probe").write_bytes(b"")
    folds = (tmp_path / "pROBE").exists()
    assert folds_case(tmp_path) is folds
    assert folds_case(tmp_path / "not" / "made" / "yet") is folds
    (tmp_path / "1").mkdir()
    assert folds_case(tmp_path / "1") is folds  # empty
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["1", "Probe"]


def test_a_file_system_that_folds_case_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Probe.txt").write_bytes(b"")
    look, spellings = Path.lstat, list[str]()

    def fold(path: Path) -> os.stat_result:
        spellings.append(path.name)
        return look(path.with_name("Probe.txt") if path.name.lower() == "probe.txt" else path)

    monkeypatch.setattr(Path, "lstat", fold)
    assert folds_case(tmp_path) and spellings == ["Probe.txt", "pROBE.TXT"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names that differ by case are one there")
def test_links_of_one_file_do_not_fold_case(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    os.link(tmp_path / "a", tmp_path / "A")
    assert not folds_case(tmp_path)
