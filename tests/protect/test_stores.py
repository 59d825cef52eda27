"""Runs from and to a store: the same files and rows as on a disk, and nothing lost where it is cut short."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import DiskError, UsageError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.dry_run import dry_run
from dadfi_fast.protect.manifest import NAME, Facts
from dadfi_fast.storage.object_store import OutStore
from dadfi_fast.storage.paths import AnyPath, RemotePath, parse_url

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]


@pytest.fixture(params=["memory", pytest.param("s3", marks=[pytest.mark.slow, pytest.mark.extras("s3")])])
def shop(request: pytest.FixtureRequest) -> Iterator[RemotePath]:
    """A store, empty."""
    yield parse_url(request.getfixturevalue(request.param))


@pytest.fixture
def inside(shop: RemotePath, photos: Fill) -> Callable[[dict[str, bytes | None]], RemotePath]:
    """Puts files into the store's folder ``in``, and into the folder ``in`` on disk."""

    def fill(files: dict[str, bytes | None]) -> RemotePath:
        folder = photos(files)
        for name in files:
            shop.store.system.pipe_file((shop / "in" / name).key, (folder / name).read_bytes())
        return shop / "in"

    return fill


def files(folder: AnyPath) -> dict[str, bytes]:
    """Everything but the manifest."""
    if isinstance(folder, Path):
        contents = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
    else:
        system = folder.store.system
        contents = {key[len(folder.key) + 1 :]: system.cat_file(key) for key in system.find(folder.key)}
    return {name: data for name, data in sorted(contents.items()) if name != NAME}


def untimed(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in their order, without what differs from run to run and from place to place."""
    return [{**row, "seconds": None, "stat": row["stat"][0]} for row in rows.values()]


def test_the_same_as_on_a_disk(inside: Any, shop: RemotePath, run: Run, encoded: Make, tmp_path: Path) -> None:
    source = inside(
        {
            "a.jpg": None,
            "sub/b.png": encoded("PNG", "RGBA"),
            "n.txt": b"hi",
            "bad.jpg": b"hi",
            "sub/c d#.webp": encoded("WEBP"),
        }
    )
    expected, rows = run(verify=1.0)
    for name, start, end in (
        ("store to store", source, shop / "out"),
        ("store to disk", source, tmp_path / "there"),
        ("disk to store", tmp_path / "in", shop / "o[1]*?" / "out"),
    ):
        summary, store_rows = run(start, out=end, verify=1.0)
        assert (summary.written, summary.skipped, summary.failed) == (3, 1, 1), name
        assert untimed(store_rows) == untimed(rows), name
        assert files(end) == files(tmp_path / "out"), name
    assert files(source) == files(tmp_path / "in") and expected.written == 3
    again, _ = run(source, out=shop / "out", verify=1.0)
    assert (again.written, again.done, again.failed) == (0, 4, 1)


@pytest.mark.parametrize(
    ("policy", "status", "target"),
    [
        ("skip", "skipped", None),
        ("fail", "failed", None),
        ("rename", "written", "a-2.jpg"),
        ("overwrite", "written", "a.jpg"),
    ],
)
def test_files_that_are_there(
    inside: Any, shop: RemotePath, run: Run, policy: str, status: str, target: str | None
) -> None:
    source, out = inside({"a.jpg": None}), shop / "out"
    shop.store.system.pipe_file((out / "a.jpg").key, b"mine")
    _, rows = run(source, out=out, on_exists=policy)
    assert (rows["a.jpg"]["status"], rows["a.jpg"]["target"]) == (status, target)
    assert (files(out)["a.jpg"] == b"mine") is (policy != "overwrite")
    assert set(files(out)) == {"a.jpg"} | ({target} if target else set())


def test_renamed_side_by_side(inside: Any, shop: RemotePath, run: Run) -> None:
    """Names that are only claimed count as well: all of these go up in one group."""
    source, out = inside({"a.jpg": None, "a-2.jpg": None, "a-3.jpg": None}), shop / "out"
    shop.store.system.pipe_file((out / "a.jpg").key, b"mine")
    _, rows = run(source, out=out, on_exists="rename")
    targets = [row["target"] for row in rows.values()]
    assert len(set(targets)) == 3 and set(files(out)) == {"a.jpg", *targets} and files(out)["a.jpg"] == b"mine"


def test_out_within_source(inside: Any, shop: RemotePath, run: Run) -> None:
    source = inside({"a.jpg": None, "sub/b.jpg": None})
    for written, done in ((2, 0), (0, 2)):
        summary, rows = run(source, out=source / "sub" / "protected")
        assert (summary.written, summary.done, set(rows)) == (written, done, {"a.jpg", "sub/b.jpg"})
    with pytest.raises(UsageError, match="inputs are never modified"):
        run(source, out=source)


def test_a_store_that_goes_away_ends_the_run_and_keeps_what_is_written(
    inside: Any, shop: RemotePath, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dadfi_fast.protect.commit.GROUP", 4)
    names = {f"{n:02}.jpg": None for n in range(18)}
    source, out = inside(names), shop / "out"
    put, room = OutStore._put, [7]

    def limited(self: OutStore, target: str, data: bytes) -> Any:
        room[0] -= 1
        if room[0] < 0:
            raise DiskError("the store is gone")
        return put(self, target, data)

    with monkeypatch.context() as patch, pytest.raises(DiskError, match="the store is gone"):
        patch.setattr(OutStore, "_put", limited)
        run(source, out=out)
    before = {name: data for name, data in files(out).items() if name in names}
    assert len(before) == 7 and NAME not in {key.rpartition("/")[2] for key in out.store.system.find(out.key)}
    uploaded: list[str] = []

    def noted(self: OutStore, target: str, data: bytes) -> Any:
        uploaded.append(target)
        return put(self, target, data)

    monkeypatch.setattr(OutStore, "_put", noted)
    summary, rows = run(source, out=out)
    assert (summary.done, summary.written) == (7, 11) and set(rows) == set(names)
    assert sorted([*uploaded, *before]) == sorted(names)  # nothing twice
    assert set(files(out)) == set(names)


def test_interrupted_it_finishes_what_is_under_way(inside: Any, shop: RemotePath, run: Run, stripes: Any) -> None:
    source, out = inside({f"{n:03}.jpg": None for n in range(90)}), shop / "out"
    attack = stripes(during=lambda call: os.kill(os.getpid(), signal.SIGINT) if call == 2 else None)
    summary, rows = run(source, out=out, attack=attack, batch=4)
    assert summary.interrupted and 8 <= summary.written < 80
    assert set(files(out)) == set(rows)
    again, rows = run(source, out=out, batch=4)
    assert again.done == summary.written and len(rows) == 90 == len(files(out))


def test_a_name_that_the_store_does_not_take(
    inside: Any, shop: RemotePath, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    source, out = inside({"a.jpg": None, "b.jpg": None}), shop / "out"
    system = out.store.system
    pipe = system.pipe_file

    def refuse(key: str, data: bytes, **options: Any) -> Any:
        if key.endswith("out/a.jpg"):
            raise OSError(errno.EINVAL, "KeyTooLongError")
        return pipe(key, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(system, "pipe_file", refuse, raising=False)
        summary, rows = run(source, out=out)
    assert summary.failed == 1 and rows["a.jpg"]["error"]["hop"] == "write" and rows["a.jpg"]["target"] is None
    assert set(files(out)) == {"b.jpg"} and rows["b.jpg"]["status"] == "written"


def test_the_time_of_uploads_is_told(inside: Any, shop: RemotePath, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what a run to a far store waits for."""
    source, put = inside({f"{n}.jpg": None for n in range(6)}), OutStore.upload

    def slow(self: OutStore, files: Any) -> Any:
        time.sleep(1.0)
        return put(self, files)

    monkeypatch.setattr(OutStore, "upload", slow)
    summary, _ = run(source, out=shop / "out")
    [write] = [stage for stage in summary.stages if stage.name == "write"]
    assert write.photos == 6 and 2 < write.rate < 6 and write.load > 0.3


def test_a_dry_run_writes_nothing(inside: Any, shop: RemotePath) -> None:
    source = inside({"a.jpg": None, "n.txt": b"hi"})
    config = ProtectConfig(sources=(str(source),), out=shop / "out")
    rows = list(dry_run(config, Facts(config.fingerprint, "toy", "")))
    assert [(row["source"], row["action"]) for row in rows] == [("a.jpg", "protect"), ("n.txt", "skip")]
    assert files(shop / "out") == {}
