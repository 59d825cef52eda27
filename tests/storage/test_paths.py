"""Places: paths stay paths, URLs become places in a store, and what is missing is said with how to fix it."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import DiskError, UsageError
from dadfi_fast.storage.paths import (
    FIRST,
    CachedFilesystem,
    RemotePath,
    first_bytes,
    parse_path,
    parse_url,
    storage_errors,
)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("/a/b", "/a/b"),
        ("file:///a/b", "/a/b"),
        ("file://localhost/a/b", "/a/b"),
        ("local:///a/b", "/a/b"),
        ("file:///a/my%20photos/*.jpg", "/a/my photos/*.jpg"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths look otherwise there")
def test_paths(text: str, path: str) -> None:
    assert parse_path(text) == Path(path)


def test_a_path_loads_nothing_that_speaks_http(tmp_path: Path) -> None:
    code = (
        "import sys; from dadfi_fast.storage import paths; paths.parse_path('a'); print('http.client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_a_url_is_a_place_in_a_store(memory: str) -> None:
    top = parse_path(f"{memory}/in/")
    assert isinstance(top, RemotePath)
    file = top / "a" / "b.jpg"
    assert (str(top), str(file), file.name) == ("memory:///shop/in", "memory:///shop/in/a/b.jpg", "b.jpg")
    assert file.relative_to(top).as_posix() == "a/b.jpg" and file.parent == top / "a" and top / "." == top
    assert file.is_relative_to(top) and not parse_path(f"{memory}/inner").is_relative_to(top)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "gone", "words"),
    [
        ("s3://bucket/a", "s3fs", r"pip install 'dadfi-fast\[s3\]'"),
        ("gs://bucket/a", "gcsfs", r"pip install 'dadfi-fast\[gcs\]'"),
        ("sftp://host/a", "paramiko", "sftp:// needs another package: .*paramiko"),
        ("s3://bucket/a", "fsspec.core", r"pip install 'dadfi-fast\[s3\]'"),
        ("nowhere://a", None, "nowhere"),
        ("zip://a::s3://bucket/b.zip", None, "chain of file systems"),
    ],
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, url: str, gone: str | None, words: str) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    registry = importlib.import_module("fsspec.registry")._registry
    monkeypatch.delitem(registry, url.partition("://")[0], raising=False)  # another test may have needed it
    if gone:
        monkeypatch.setitem(sys.modules, gone, None)
    with pytest.raises(UsageError, match=words):
        parse_path(url)


class Counted:
    """The file system in memory, with what is asked of it written down."""

    def __init__(self, system: Any) -> None:
        self.system, self.calls = system, list[Any]()

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, kwargs.get("start"), kwargs.get("end")))
            return getattr(self.system, name)(*args, **kwargs)

        return call


def counted(url: str, data: bytes | None = None, *, size: int | None = None) -> tuple[RemotePath, Counted]:
    """A place that counts, with a file in it."""
    path = parse_url(url)
    system = Counted(path.store.system)
    if data is not None:
        path.store.system.pipe_file(path.key, data)
    return RemotePath(path.url, path.key, CachedFilesystem(system), size), system


@pytest.mark.parametrize(
    ("length", "steps", "requests"),
    [
        (0, (32, -1), 0),  # an empty range is a mistake to stores
        (100, (32, -1), 1),
        (FIRST, (32, -1), 1),
        (FIRST + 1, (32, -1), 2),
        (3 * FIRST, (32,), 1),  # what is no picture is not read to its end
        (3 * FIRST, (FIRST, FIRST, FIRST, FIRST), 3),
        (3 * FIRST, (-1,), 1),
    ],
)
def test_files_are_read_in_few_requests(memory: str, length: int, steps: tuple[int, ...], requests: int) -> None:
    data = bytes(range(256)) * (length // 256) + bytes(length % 256)
    file, system = counted(f"{memory}/a", data, size=length)
    with file.open("rb") as reader:
        parts = [reader.read(n) for n in steps]
    assert b"".join(parts) == data[: len(b"".join(parts))]
    assert [len(part) for part, n in zip(parts, steps, strict=True) if n >= 0] == [
        min(n, max(0, length - sum(steps[:i]))) for i, n in enumerate(steps) if n >= 0
    ]
    assert -1 not in steps or len(b"".join(parts)) == length
    assert len(system.calls) == requests


def test_the_first_bytes_are_all_that_is_read(memory: str, tmp_path: Path) -> None:
    file, system = counted(f"{memory}/a", b"0123456789", size=10)
    assert first_bytes(file, 4) == b"0123" and system.calls == [("cat_file", 0, 4)]
    assert first_bytes(counted(f"{memory}/b", b"", size=0)[0], 4) == b""
    (tmp_path / "a").write_bytes(b"0123456789")
    assert first_bytes(tmp_path / "a", 4) == b"0123"


def test_a_folder_is_listed_once_for_all_its_names(memory: str) -> None:
    folder, system = counted(f"{memory}/in")
    system.system.pipe_file(f"{folder.key}/a.jpg", b"x")
    assert (folder / "a.jpg").exists() and not (folder / "b.jpg").exists() and (folder / "a.jpg").is_file()
    folder.store.claim((folder / "b.jpg").key)
    assert (folder / "b.jpg").exists() and [name for name, *_ in system.calls] == ["ls"]
    assert not (folder / "nowhere" / "a.jpg").exists()


def test_a_place_can_be_sent_to_another_process(memory: str) -> None:
    path = parse_url(f"{memory}/in/a.jpg")
    sent = pickle.loads(pickle.dumps(RemotePath(path.url, path.key, path.store, 7, 9)))
    assert sent == path and (sent.key, sent.size, sent.mtime_ns) == (path.key, 7, 9)
    assert pickle.loads(pickle.dumps(sent)).store is sent.store  # one list of names for all of them


def test_errors_of_stores_are_told(memory: str) -> None:
    with (
        pytest.raises(DiskError, match=r"cannot write memory:///shop: no route\. .*to resume"),
        storage_errors(parse_path(memory), to="write"),
    ):
        raise RuntimeError("no route")
    with pytest.raises(UsageError, match="as it is"), storage_errors(parse_path(memory), to="write"):
        raise UsageError("as it is")
