"""Inputs in a store: the same ones, in the same order, as on a disk."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from dadfi_fast.errors import DiskError, NothingToDo, UsageError
from dadfi_fast.protect.discover import discover
from dadfi_fast.protect.results import Entry, Failed
from dadfi_fast.storage import listing
from dadfi_fast.storage.paths import CachedFilesystem, RemotePath, parse_path

NAMES = (
    "b.jpg", "a.jpg", "sub/z.jpg", "sub/deep/y.jpg", "sub-x/q.jpg", "sub.d/q.jpg", "another/x.txt", "Thumbs.db",
    ".DS_Store", "__MACOSX/a.jpg", "dadfi-manifest.jsonl", "dadfi-manifest-parts/1.jsonl", ".dadfi-parts/1",
)  # fmt: skip


def fill(top: Any, *names: str) -> None:
    """Files of one byte, on a disk or in a store."""
    for name in names:
        if isinstance(top, Path):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_bytes(b"x")
        else:
            top.store.system.pipe_file((top / name).key, b"x")


def list_inputs(*sources: object, out: object) -> list[tuple[str, str, int]]:
    """(name, target, size) of every input."""
    names = [str(source) for source in sources]
    return [(e.name, e.target, e.size) for e in discover(names, parse_path(str(out))) if isinstance(e, Entry)]


def test_as_on_a_disk(memory: str, tmp_path: Path) -> None:
    fill(parse_path(f"{memory}/in"), *NAMES)
    fill(tmp_path / "in", *NAMES)
    expected = list_inputs(tmp_path / "in", out=tmp_path / "out")
    assert len(expected) == 7
    assert list_inputs(f"{memory}/in", out=f"{memory}/out") == expected
    assert list_inputs(f"{memory}/in/", out=tmp_path / "out") == expected  # from a store to a disk
    globbed = list_inputs(tmp_path / "in" / "**" / "*.jpg", out=tmp_path / "out")
    assert list_inputs(f"{memory}/in/**/*.jpg", out=f"{memory}/out") == globbed and len(globbed) == 7
    assert list_inputs(f"{memory}/in/a.jpg", out=f"{memory}/out") == [("a.jpg", "a.jpg", 1)]


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    fill(tmp_path / "my in", "a.jpg")
    assert list_inputs((tmp_path / "my in").as_uri(), out=tmp_path / "out") == [("a.jpg", "a.jpg", 1)]


def test_the_output_folder_within_a_source_is_left_out(memory: str) -> None:
    fill(parse_path(f"{memory}/in"), "a.jpg", "out/a.jpg", "out/sub/b.jpg", "outer/c.jpg")
    assert [name for name, *_ in list_inputs(f"{memory}/in", out=f"{memory}/in/out")] == ["a.jpg", "outer/c.jpg"]


def test_several_sources_land_side_by_side(memory: str, tmp_path: Path) -> None:
    fill(parse_path(f"{memory}/one"), "a.jpg")
    fill(tmp_path / "two", "a.jpg")
    assert list_inputs(f"{memory}/one", tmp_path / "two", out=f"{memory}/out") == [
        (f"{memory}/one/a.jpg", "a.jpg", 1),
        ((tmp_path / "two" / "a.jpg").as_posix(), "a-2.jpg", 1),
    ]


@pytest.mark.parametrize(
    ("source", "out", "error", "words"),
    [
        ("in", "in", UsageError, "is also a SOURCE"),
        ("in/", "in", UsageError, "is also a SOURCE"),
        ("in/sub", "in", UsageError, "is inside --out"),
        ("in/a.jpg", "in", UsageError, "is inside --out"),
        ("in/*.jpg", "in", UsageError, "is inside --out"),
        ("missing", "out", UsageError, "missing does not exist"),
        ("in/*.bmp", "out", NothingToDo, "no file matches"),
    ],
)
def test_refused(memory: str, source: str, out: str, error: type[Exception], words: str) -> None:
    fill(parse_path(f"{memory}/in"), "a.jpg", "sub/b.jpg")
    with pytest.raises(error, match=words):
        discover([f"{memory}/{source}"], parse_path(f"{memory}/{out}"))


def test_what_cannot_be_listed(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(parse_path(f"{memory}/in"), "a.jpg", "sub/b.jpg", "z/c.jpg")
    listing = CachedFilesystem.list

    def refuse(self: CachedFilesystem, folder: str) -> Any:
        if folder.endswith("/sub"):
            raise PermissionError(13, "Access Denied")
        return listing(self, folder)

    monkeypatch.setattr(CachedFilesystem, "list", refuse)
    kinds = {(e if isinstance(e, Entry) else e.entry).name: type(e) for e in discover([f"{memory}/in"], Path("out"))}
    assert kinds == {"a.jpg": Entry, "sub": Failed, "z/c.jpg": Entry}


def test_a_store_that_is_gone_is_told(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    top = parse_path(f"{memory}/in")
    assert isinstance(top, RemotePath)

    def gone(_key: str) -> bool:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(top.store.system, "isfile", gone, raising=False)
    with pytest.raises(DiskError, match=r"cannot read .*: no credentials"):
        listing.root(top, is_junk=lambda _: False)


WHEN = datetime(2026, 1, 2, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"LastModified": WHEN}, WHEN.timestamp()),  # s3fs
        ({"updated": "2026-01-02T00:00:00.000Z"}, WHEN.timestamp()),  # gcsfs
        ({"mtime": 12.5}, 12.5),  # sftp
        ({"created": "yesterday"}, 0),
        ({}, 0),
    ],
)
def test_times(info: dict[str, Any], expected: float) -> None:
    class Listing:
        def ls(self, _folder: str, *, detail: bool) -> list[dict[str, Any]]:
            return [
                {"name": "b/f/a.jpg", "type": "file", "size": 3, **info},
                {"name": "b/f/", "type": "file", "size": 0},
            ]

    folder = RemotePath("s3://b/f", "b/f", CachedFilesystem(Listing()))
    walk = listing.walk(folder, PurePosixPath(), enter=lambda _: True, is_junk=lambda _: False)
    [(relative, files)] = list(walk)  # the empty object that stands for the folder is none of them
    assert relative == PurePosixPath() and not isinstance(files, OSError)
    assert [(file.url, file.size, file.mtime_ns) for file in files] == [("s3://b/f/a.jpg", 3, round(expected * 1e9))]
