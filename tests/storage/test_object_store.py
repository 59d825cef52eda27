"""An output folder in a store: whole files under their final names, and errors told from each other."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import DiskError, UsageError
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.storage.object_store import OutStore, open_out
from dadfi_fast.storage.paths import CachedFilesystem, RemotePath, parse_path


@pytest.fixture
def out(memory: str) -> OutStore:
    """An empty one."""
    store = open_out(parse_path(f"{memory}/out"))
    assert isinstance(store, OutStore)
    return store


def names(out: OutStore) -> list[str]:
    """All files, relative."""
    keys = out.path.store.system.find(out.path.key)
    return sorted(name[len(out.path.key) + 1 :] for name in keys)


def test_a_disk_keeps_its_own_way(tmp_path: Path) -> None:
    assert isinstance(open_out(tmp_path / "out"), OutFolder)


def test_files_go_up_whole(out: OutStore) -> None:
    files = {n: (f"{n % 3}/{n}.jpg", bytes([n])) for n in range(40)}
    assert out.stage("a.jpg", b"x") == b"x" and names(out) == []
    assert out.upload(files) == {}
    assert names(out) == sorted(target for target, _ in files.values())
    assert (out.path / "1/31.jpg").read_bytes() == bytes([31])
    assert out.upload({}) == {}


def test_a_claimed_name_is_taken(out: OutStore) -> None:
    assert not (out.path / "a.jpg").exists()
    out.claim("a.jpg")
    assert (out.path / "a.jpg").exists()


@pytest.mark.parametrize("scheme", ["sftp", "http", "hdfs", "zip"])
def test_stores_that_write_in_several_steps_are_refused(scheme: str) -> None:
    with pytest.raises(UsageError, match=r"cannot write files atomically. Mount it"):
        OutStore(RemotePath(f"{scheme}://host/out", "/out", CachedFilesystem(None)))


class Refusing:
    """A store that takes nothing but the probe."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def pipe_file(self, key: str, _data: bytes) -> None:
        if not key.endswith(".partial"):
            raise self.error

    def rm_file(self, _key: str) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "of_the_photo"),
    [
        (OSError(errno.EINVAL, "KeyTooLongError"), True),
        (OSError(errno.ENAMETOOLONG, "too long"), True),
        (PermissionError(errno.EACCES, "Access Denied"), False),
        (RuntimeError("no route to host"), False),  # botocore's and aiohttp's errors are no OSError
    ],
)
def test_a_bad_name_is_one_photos_fault_and_all_else_ends_the_run(error: Exception, of_the_photo: bool) -> None:
    out = OutStore(RemotePath("s3://bucket/out", "bucket/out", CachedFilesystem(Refusing(error))))
    files = {7: ("a.jpg", b"x")}
    if of_the_photo:
        assert list(out.upload(files)) == [7] and "cannot write s3://bucket/out/a.jpg: " in str(out.upload(files)[7])
    else:
        with pytest.raises(DiskError, match=r"cannot write s3://bucket/out/a\.jpg: "):
            out.upload(files)


def test_a_store_that_takes_nothing_is_found_out_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Access Denied")

    monkeypatch.setattr(Refusing, "pipe_file", refuse)
    with pytest.raises(DiskError, match=r"cannot write to s3://bucket/out: .*Access Denied"):
        OutStore(RemotePath("s3://bucket/out", "bucket/out", CachedFilesystem(Refusing(OSError()))))
