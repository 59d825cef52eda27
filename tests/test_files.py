from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dadfi_fast.errors import DataError
from dadfi_fast.files import atomic_file, atomic_write, json_safe, open_members, sha256, sha256_of


def test_a_file_is_there_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for data in (b"old", b"new"):
        atomic_write(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path], "nothing temporary is left"


@pytest.mark.parametrize("temporary", [None, "a.bin.partial"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt], ids=["disk", "ctrl-c"])
def test_an_older_file_outlives_a_fault(tmp_path: Path, temporary: str | None, error: type[BaseException]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_file(path, temporary=temporary, sync=True) as file:
        file.write(b"half of the n")
        raise error
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_under_the_name_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.bin.partial").write_bytes(b"a longer rest of an earlier run")
    with atomic_file(tmp_path / "a.bin", temporary="a.bin.partial") as file:
        file.write(b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such bits")
@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o644)])
def test_who_may_read_it(tmp_path: Path, private: bool, mode: int) -> None:
    before = os.umask(0o022)
    try:
        atomic_write(tmp_path / "a.bin", b"", private=private)
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("archived", [False, True], ids=["folder", "tar"])
def test_a_folder_and_its_archive_have_the_same_members(tmp_path: Path, archived: bool) -> None:
    source = tmp_path / "faces"
    for name in ("b.png", "a/z.JPG", "a.txt", "c.png/inner.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())
    if archived:
        with tarfile.open(tmp_path / "faces.tar", "w") as tar:
            tar.add(source, arcname="")
        source = tmp_path / "faces.tar"
    with open_members(source, (".jpg", ".png")) as (names, read):
        assert names == ["a/z.JPG", "b.png", "c.png/inner.png"]
        assert [read(name) for name in reversed(names)] == [b"c.png/inner.png", b"b.png", b"a/z.JPG"]


@pytest.mark.parametrize("name", ["a.csv", "not there"])
def test_what_has_no_members(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("image,male\n")
    with pytest.raises(DataError, match="neither a folder nor a tar archive"), open_members(tmp_path / name, (".png",)):
        pass


def test_a_changed_file_has_another_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for data in (b"a", b"longer than a block of a MiB" * 40_000):
        path.write_bytes(data)
        assert sha256(path) == sha256_of(io.BytesIO(data)) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (np.float64("inf"), None),
        ({1: (1.5, float("nan"))}, {"1": [1.5, None]}),
        ([True, None, "nan", 10**400], [True, None, "nan", 10**400]),  # larger than any float
    ],
    ids=["nan", "infinity", "numpy", "nested", "as it is"],
)
def test_what_json_has_no_number_for_becomes_null(value: object, expected: object) -> None:
    assert json_safe(value) == expected
    json.dumps(json_safe(value), allow_nan=False)
